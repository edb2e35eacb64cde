"""The rows that could not be written, recorded in Redis for `audit` in another process."""

import json
from collections.abc import Sequence
from typing import cast

import redis

from reactive_demo.redis_cache.keys import quarantine_key

__all__ = ["MAX_QUARANTINED", "QuarantineRecords"]

MAX_QUARANTINED = 1_000
"""Rows whose quarantine is recorded, at most."""

QUARANTINE_LIFE = 86_400
"""Seconds that such a record is kept."""


class QuarantineRecords:
    """The records of one table."""

    def __init__(self, client: redis.Redis, table: str) -> None:
        self._redis = client
        self._name = quarantine_key(table)

    def add(self, key: str, version: str, reason: str) -> None:
        """Record, for a day, that a version of the row could not be written, and why."""
        if self._redis.hlen(self._name) < MAX_QUARANTINED:
            with self._redis.pipeline(transaction=False) as batch:
                batch.hset(self._name, key, json.dumps([version, reason]))
                batch.expire(self._name, QUARANTINE_LIFE)
                batch.execute()

    def find(self, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return version and reason of those of `keys` that are recorded."""
        if not keys:
            return {}
        records = cast("list[str | None]", self._redis.hmget(self._name, list(keys)))
        pairs = zip(keys, records, strict=True)
        return {key: tuple(json.loads(record)) for key, record in pairs if record}
