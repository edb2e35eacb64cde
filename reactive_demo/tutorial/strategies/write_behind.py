"""Write-behind: the app writes the cache and leaves a message; the database follows."""

import json
import uuid
from threading import Lock

from reactive_demo.errors import UnavailableError
from reactive_demo.redis_cache.keys import stream_key
from reactive_demo.tutorial.brokers import Broker
from reactive_demo.tutorial.strategies.consumer import GROUP
from reactive_demo.tutorial.strategies.strategy import Strategy, check

__all__ = ["WriteBehind"]


class WriteBehind(Strategy):
    """One round trip: copy and message are in one Redis, and are written in one step.

    Until a `Consumer` has brought the message to the database, Redis holds the only record of the
    write, and what Redis loses is lost. Redis must not evict these keys either: an evicted copy
    would be filled again from a database that has not caught up.

    With a `broker`, the message goes there, and that is a second step: if the app dies between the
    two, or the broker is away, the copy shows what the database will never hear of.
    """

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        prefix: str = "profile",
        *,
        broker: Broker | None = None,
    ) -> None:
        super().__init__(database_url, redis_url, prefix)
        self._broker = broker
        self._one_at_a_time = Lock()
        self._has_queue = False

    def write(self, username: str, counter: str) -> None:
        """Add one to the copy, and leave a message for the database."""
        check(username, counter)
        stream = stream_key(self.copies.prefix)
        while not self.copies.add(username, counter, None if self._broker else stream):
            self.copies.put_if_absent(self.rows.get_or_new(username))
        if self._broker:
            message = {"id": uuid.uuid4().hex, "username": username, "counter": counter}
            self._publish(self._broker, stream, json.dumps(message), username)

    def _publish(self, broker: Broker, topic: str, body: str, key: str) -> None:
        with self._one_at_a_time:
            topic = topic.replace(":", ".")
            try:
                if not self._has_queue:  # where messages wait for a consumer that has never come
                    self._make_queue(broker, topic)
                if not broker.publish(topic, body, key):
                    self._make_queue(broker, topic)  # somebody has deleted it
                    broker.publish(topic, body, key)
            except broker.lost as error:
                broker.close()
                raise UnavailableError(
                    "The copy has this write already, and it has no message: correct the copy. "
                    f"{broker.sentence(error)}"
                ) from None

    def _make_queue(self, broker: Broker, topic: str) -> None:
        broker.subscribe(topic, GROUP).close()
        self._has_queue = True
