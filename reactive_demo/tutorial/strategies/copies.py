"""Copies of rows in Redis that the app writes itself, in the format of `Cache`."""

import json
from importlib.resources import files
from typing import Any

from reactive_demo.changes import Change
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.client import open_redis

__all__ = ["Copies"]


class Copies:
    """The copies under `<prefix>:<username>`. Each method is one round trip.

    Counters below 10**14 are exact. An addition is never retried: if only the answer was lost, it
    would count twice.
    """

    def __init__(self, redis_url: str, prefix: str = "profile") -> None:
        self.prefix = prefix
        self._cache = Cache(redis_url, prefix)
        self._redis = open_redis(redis_url, retries=0)
        self._add = self._redis.register_script((files(__package__) / "add.lua").read_text())

    def get(self, username: str) -> dict[str, Any] | None:
        """Return the copy, or None."""
        return self._cache.get(username)

    def put(self, row: dict[str, Any]) -> None:
        """Replace the copy, and publish it."""
        self._cache.put([Change(row["username"], row)])

    def put_if_absent(self, row: dict[str, Any]) -> None:
        """Write a copy if there is none."""
        self._redis.hsetnx(self._key(row["username"]), "row", json.dumps(row))

    def put_for(self, row: dict[str, Any], seconds: float) -> None:
        """Write a copy that expires."""
        with self._redis.pipeline(transaction=True) as batch:
            batch.hset(self._key(row["username"]), "row", json.dumps(row))
            batch.pexpire(self._key(row["username"]), round(1000 * seconds))
            batch.execute()

    def invalidate(self, username: str) -> None:
        """Drop the copy."""
        self._redis.delete(self._key(username))

    def add(self, username: str, counter: str, stream: str | None = None) -> bool:
        """Add one to a counter of the copy; return False, having done nothing, if there is none.

        With `stream`, append a message about it there, in the same step.
        """
        keys, arguments = [self._key(username)], [f"{counter}_count"]
        if stream is not None:
            keys.append(stream)
            arguments += ["username", username, "counter", counter]
        return bool(self._add(keys=keys, args=arguments))

    def close(self) -> None:
        """Close the connections."""
        self._cache.close()
        self._redis.close()

    def _key(self, username: str) -> str:
        return self._cache.redis_key(username)
