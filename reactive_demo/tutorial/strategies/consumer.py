"""Consumers bring write-behind's messages to the database: one, or several as a group.

A consumer takes messages, stores them, and acknowledges them. If it dies in between, its messages
are not lost: they stay *pending* until another consumer claims them. So a message may be delivered
twice; `sql/06_write_behind.sql` counts it once.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Self

import redis

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.redis_cache.keys import stream_key
from reactive_demo.tutorial.brokers import Broker, Reader
from reactive_demo.tutorial.strategies.rows import Rows
from reactive_demo.tutorial.transient import is_transient

__all__ = ["Consumer", "Message"]

GROUP = "database"
WAIT = 0.2
"""Seconds to wait for a new message before looking for abandoned ones."""

RETRY_PAUSE = 0.2
"""Seconds before the next attempt when a server does not answer."""


class Message(NamedTuple):
    """An increment on its way to the database."""

    id: str
    """Assigned by Redis: milliseconds and a number, as in `1700000000000-0`; or by the writer."""
    username: str
    counter: str


class Consumer:
    """A member of the group; as a context manager, it works in a thread of its own.

    It claims messages that another consumer took `patience` seconds ago and has not acknowledged.
    `batch` is the most messages that it stores in one transaction. With a `broker`, it takes them
    from there, and the broker decides what is abandoned.
    """

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        prefix: str = "profile",
        *,
        name: str = "one",
        patience: float = 10,
        batch: int = 500,
        broker: Broker | None = None,
    ) -> None:
        self.name = name
        self.patience = patience
        self.batch = batch
        self.stream = stream_key(prefix)
        self._rows = Rows(database_url)
        self._redis = open_redis(redis_url)
        self._broker = broker
        self._reader: Reader | None = None
        self._ending = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="reactive_demo behind", daemon=True)

    def take(self) -> list[Message]:
        """Take messages: abandoned ones, or else new ones if any come in time."""
        if self._broker:
            return list(self._read(self._broker))
        try:
            found = self._claim() or self._receive()
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._make_group()
            return self.take()
        # A message that was deleted while it was pending has no fields.
        return [Message(i, fields["username"], fields["counter"]) for i, fields in found if fields]

    def store(self, messages: Sequence[Message]) -> int:
        """Write messages to the database, in one transaction; return how many were new."""
        return self._rows.store(self.stream, messages)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell Redis, or the broker, that these messages are done with."""
        if self._broker and self._reader:
            with self._while_it_lasts(self._broker):
                self._reader.acknowledge()
            return
        ids = [message.id for message in messages]
        if not ids:
            return
        with self._redis.pipeline(transaction=True) as batch:
            batch.xack(self.stream, GROUP, *ids)
            batch.xdel(self.stream, *ids)
            batch.execute()

    def work(self) -> int:
        """Take, store and acknowledge messages; return how many."""
        if messages := self.take():
            self.store(messages)
            self.acknowledge(messages)
        return len(messages)

    def waiting(self) -> int:
        """Return how many messages are in the stream, taken or not."""
        return int(self._redis.xlen(self.stream))

    def run(self) -> None:
        """Work until `stop()`, trying again while a server does not answer.

        Raises what a retry cannot cure.
        """
        while not self._ending.is_set():
            try:
                self.work()
            except (ReactiveDemoError, redis.RedisError) as error:
                if not is_transient(error):
                    raise
                self._ending.wait(RETRY_PAUSE)

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Stop the thread; raise what ended it before, if anything did."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(5)
        self.close()
        self.check()

    def close(self) -> None:
        """Close the connections."""
        self._leave()
        self._rows.close()
        self._redis.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Consumer({self.name})"

    def _run(self) -> None:
        try:
            self.run()
        except Exception as error:  # noqa: BLE001  (`check()` raises it)
            self._error = error

    def _read(self, broker: Broker) -> Iterator[Message]:
        """Yield what the broker has for us, at most a batch."""
        with self._while_it_lasts(broker):
            if self._reader is None:
                self._reader = broker.subscribe(self.stream.replace(":", "."), GROUP)
            for number in range(self.batch):
                if (body := self._reader.read(0.0 if number else WAIT)) is None:
                    return
                yield Message(**json.loads(body))

    @contextmanager
    def _while_it_lasts(self, broker: Broker) -> Iterator[None]:
        """Leave a broker that is away: the next call subscribes again."""
        try:
            yield
        except broker.lost as error:
            self._leave()
            raise broker.sentence(error) from None

    def _leave(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            with suppress(*(self._broker.lost if self._broker else ())):
                reader.close()

    def _make_group(self) -> None:
        try:
            self._redis.xgroup_create(self.stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another consumer was faster
                raise

    def _claim(self) -> list[tuple[str, dict[str, str]]]:
        patience = round(1000 * self.patience)
        reply: Any = self._redis.xautoclaim(
            self.stream, GROUP, self.name, min_idle_time=patience, count=self.batch
        )
        return list(reply[1])

    def _receive(self) -> list[tuple[str, dict[str, str]]]:
        reply: Any = self._redis.xreadgroup(
            GROUP, self.name, {self.stream: ">"}, count=self.batch, block=round(1000 * WAIT)
        )
        return [entry for _, entries in reply or [] for entry in entries]
