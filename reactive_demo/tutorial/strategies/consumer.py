"""Who brings the messages of write-behind into the database: one consumer of a group, or several.

A message is taken, stored and acknowledged, in this order. One that was taken by a consumer that
died is not lost: it stays *pending*, and after a while another one claims it. So a message may come
twice; `sql/06_write_behind.sql` counts it once.
"""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import redis

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.redis_cache.keys import stream_key
from reactive_demo.tutorial.strategies.rows import Rows

__all__ = ["Consumer", "Message"]

GROUP = "database"
BATCH = 500
"""Messages that are stored in one transaction."""

WAIT = 200
"""Milliseconds that Redis waits for a message, and then looks for those of others."""

PAUSE = 0.2
"""Seconds before it tries again when a server does not answer."""


class Message(NamedTuple):
    """One increment that waits for the database."""

    id: str
    """Given by Redis: milliseconds and a number, as in `1700000000000-0`."""
    username: str
    counter: str


class Consumer:
    """A member of the group; as a context manager, it works in a thread of its own.

    Messages that another one took `patience` seconds ago, and did not acknowledge, are claimed.
    """

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        prefix: str = "profile",
        *,
        name: str = "one",
        patience: float = 10,
    ) -> None:
        self.name = name
        self.patience = patience
        self.stream = stream_key(prefix)
        self._rows = Rows(database_url)
        self._redis = open_redis(redis_url)
        self._ending = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="reactive_demo behind", daemon=True)

    def take(self, wait_ms: int = WAIT) -> list[Message]:
        """Some messages: those that somebody left lying, else new ones, if any come in time."""
        try:
            found = self._claim() or self._receive(wait_ms)
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._make_group()
            return self.take(wait_ms)
        # A message that was deleted while it was pending has no fields.
        return [Message(i, fields["username"], fields["counter"]) for i, fields in found if fields]

    def store(self, messages: Sequence[Message]) -> int:
        """Write them into the database, in one transaction; how many were not there yet."""
        return self._rows.store(self.stream, messages)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell Redis that they need not come again."""
        ids = [message.id for message in messages]
        if not ids:
            return
        with self._redis.pipeline(transaction=True) as batch:
            batch.xack(self.stream, GROUP, *ids)
            batch.xdel(self.stream, *ids)
            batch.execute()

    def work(self, wait_ms: int = WAIT) -> int:
        """Take, store and acknowledge; how many messages that were."""
        if messages := self.take(wait_ms):
            self.store(messages)
            self.acknowledge(messages)
        return len(messages)

    def waiting(self) -> int:
        """How many messages are on the stream, those that somebody has taken among them."""
        return int(self._redis.xlen(self.stream))

    def run(self) -> None:
        """Work until `stop()`; while a server does not answer, try again."""
        while not self._ending.is_set():
            try:
                self.work()
            except (ReactiveDemoError, redis.ConnectionError, redis.TimeoutError):
                self._ending.wait(PAUSE)

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread, within a second; raise what ended it before, if anything did."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(5)
        self.close()
        self.check()

    def close(self) -> None:
        """Close the connections."""
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

    def _make_group(self) -> None:
        try:
            self._redis.xgroup_create(self.stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another one was faster
                raise

    def _claim(self) -> list[tuple[str, dict[str, str]]]:
        patience = round(1000 * self.patience)
        reply: Any = self._redis.xautoclaim(
            self.stream, GROUP, self.name, min_idle_time=patience, count=BATCH
        )
        return list(reply[1])

    def _receive(self, wait_ms: int) -> list[tuple[str, dict[str, str]]]:
        reply: Any = self._redis.xreadgroup(
            GROUP, self.name, {self.stream: ">"}, count=BATCH, block=wait_ms
        )
        return [entry for _, entries in reply or [] for entry in entries]
