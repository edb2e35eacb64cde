"""Redis Pub/Sub: each message goes to those who subscribe at that moment."""

from typing import Any

import redis

from reactive_demo.tutorial.brokers.broker import TIMEOUT, Reader
from reactive_demo.tutorial.brokers.redis_broker import RedisBroker

__all__ = ["PubSub"]


class PubSubReader(Reader):
    """A connection that has subscribed."""

    def __init__(self, client: redis.Redis, topic: str) -> None:
        self._subscription: Any = client.pubsub()  # type: ignore[no-untyped-call]
        self._subscription.subscribe(topic)
        self._subscription.get_message(timeout=TIMEOUT)  # the confirmation: in force from now on

    def read(self, timeout: float = 1.0) -> str | None:
        """Return the next message."""
        message = self._subscription.get_message(timeout=timeout)
        return None if message is None else str(message["data"])

    def close(self) -> None:
        """Close the connection: nothing is kept for it."""
        self._subscription.close()


class PubSub(RedisBroker):
    """Redis's channels."""

    name = "Redis Pub/Sub"
    promise = "to those who subscribe now"

    def publish(self, topic: str, body: str, key: str = "", transaction: Any = None) -> bool:
        """Publish at once: Redis knows nothing of PostgreSQL's transactions."""
        del key, transaction
        return bool(self._redis.publish(topic, body))

    def subscribe(
        self, topic: str, name: str = "reader", share: tuple[int, int] = (0, 1)
    ) -> Reader:
        """Subscribe; Redis knows no names."""
        del name, share
        return PubSubReader(self._redis, topic)
