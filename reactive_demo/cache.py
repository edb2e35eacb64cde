"""The cache: what Redis holds, how it is written, and how to be told when it changes.

A row is the hash `profile:<username>` with the field `row` (JSON text). Each write is published
on a channel of the same name, as `{"version": ..., "row": {...} or null}`. Any Redis client can
read both. The cache never touches PostgreSQL.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from redis.connection import parse_url

from reactive_demo.changes import Change
from reactive_demo.redis_client import open_redis
from reactive_demo.watcher import Subscription, Watcher

__all__ = ["Cache"]


class Cache:
    """The rows of one table, by key. Safe to use from any thread.

    Its methods raise redis.RedisError when Redis does not answer within 5 s.
    """

    def __init__(self, redis_url: str, table: str = "profile") -> None:
        self.redis_url = redis_url
        self.table = table
        self._redis = open_redis(redis_url)

    @property
    def name(self) -> str:
        """Which cache this is: address and database, without user and password."""
        place: dict[str, Any] = dict(parse_url(self.redis_url))
        address = place.get("path") or f"{place.get('host', 'localhost')}:{place.get('port', 6379)}"
        return f"{address}/{place.get('db', 0)}"

    def redis_key(self, key: str) -> str:
        """The Redis key, and channel, of a row."""
        return f"{self.table}:{key}"

    def get(self, key: str) -> dict[str, Any] | None:
        """The cached row, its columns at top level, or None."""
        row = self._redis.hget(self.redis_key(key), "row")
        return None if row is None else dict(json.loads(str(row)))

    def put(self, changes: Iterable[Change]) -> None:
        """Write and publish `changes`, all at once.

        A change without a version is written whatever the cache holds.
        """
        with self._redis.pipeline(transaction=True) as batch:
            for change in changes:
                name = self.redis_key(change.key)
                batch.delete(name)
                if change.row is not None:
                    batch.hset(name, "row", json.dumps(change.row))
                version = None if change.version is None else str(change.version)
                batch.publish(name, json.dumps({"version": version, "row": change.row}))
            batch.execute()

    def subscribe(
        self, key: str, callback: Callable[[dict[str, Any] | None], None]
    ) -> Subscription:
        """Call `callback(row)` with the row as it is now, and whenever it changes.

        The calls come from the one watching thread of this process: return fast. A message that
        Redis lost is made up for within 5 s. Ends with `close()` of the subscription.
        """
        return Watcher.shared(self.redis_url).subscribe(self.redis_key(key), callback)

    def close(self) -> None:
        """Close the connections; subscriptions go on."""
        self._redis.close()

    def __repr__(self) -> str:
        return f"Cache({self.table})"
