"""Redis Streams: a list that keeps its entries, and remembers for each group what it has done."""

import time
import uuid
from contextlib import suppress
from typing import Any

import redis

from reactive_demo.tutorial.brokers.broker import Reader
from reactive_demo.tutorial.brokers.redis_broker import RedisBroker

__all__ = ["Streams"]

PATIENCE = 0.2
"""Seconds that an entry may be in somebody's hands before another reader claims it."""


class StreamReader(Reader):
    """A member of a group."""

    def __init__(self, client: redis.Redis, topic: str, name: str) -> None:
        self._redis, self._topic, self._group = client, topic, name
        self._member = uuid.uuid4().hex
        self._taken: list[str] = []
        with suppress(redis.ResponseError):  # BUSYGROUP: it was here before
            client.xgroup_create(topic, name, id="0", mkstream=True)

    def read(self, timeout: float = 1.0) -> str | None:
        """Return the next entry: one that a dead member has left, or else a new one."""
        deadline = time.monotonic() + timeout
        while not (found := self._claim() or self._receive()):
            if time.monotonic() > deadline:
                return None
        ident, fields = found[0]
        self._taken.append(ident)
        return fields["body"]

    def acknowledge(self) -> None:
        """Have the group forget what it took."""
        if self._taken:
            self._redis.xack(self._topic, self._group, *self._taken)
            self._taken.clear()

    def close(self) -> None:
        """Leave: what was taken and not acknowledged stays the group's business."""

    def _claim(self) -> list[tuple[str, dict[str, str]]]:
        reply: Any = self._redis.xautoclaim(
            self._topic, self._group, self._member, round(1000 * PATIENCE), count=1
        )
        return [entry for entry in reply[1] if entry[0] not in self._taken]

    def _receive(self) -> list[tuple[str, dict[str, str]]]:
        reply: Any = self._redis.xreadgroup(
            self._group, self._member, {self._topic: ">"}, count=1, block=round(500 * PATIENCE)
        )
        return [entry for _, entries in reply or [] for entry in entries]


class Streams(RedisBroker):
    """Redis's streams."""

    name = "Redis Streams"
    promise = "until trimmed; at least once, if the group acknowledges"

    def publish(self, topic: str, body: str, key: str = "", transaction: Any = None) -> bool:
        """Append an entry at once, whatever becomes of PostgreSQL's transaction."""
        del key, transaction
        return bool(self._redis.xadd(topic, {"body": body}))

    def subscribe(
        self, topic: str, name: str = "reader", share: tuple[int, int] = (0, 1)
    ) -> Reader:
        """Join the group `name`; its members share the entries by themselves."""
        del share
        return StreamReader(self._redis, topic, name)
