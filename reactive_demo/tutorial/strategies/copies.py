"""Copies of rows in Redis, written by the app itself: the format is that of `Cache`."""

import json
from importlib.resources import files
from typing import Any

from reactive_demo.changes import Change
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.client import open_redis

__all__ = ["Copies"]


class Copies:
    """The copies under `<prefix>:<username>`. Each method is one round trip.

    A counter below 10**14 is exact. What adds is never tried twice: an answer that is lost would
    make it count twice.
    """

    def __init__(self, redis_url: str, prefix: str = "profile") -> None:
        self.prefix = prefix
        self._cache = Cache(redis_url, prefix)
        self._redis = open_redis(redis_url, retries=0)
        self._add = self._redis.register_script((files(__package__) / "add.lua").read_text())

    def get(self, username: str) -> dict[str, Any] | None:
        """The copy, or None."""
        return self._cache.get(username)

    def put(self, row: dict[str, Any]) -> None:
        """Write a copy over whatever is there, and tell those who watch."""
        self._cache.put([Change(row["username"], row)])

    def put_if_absent(self, row: dict[str, Any]) -> None:
        """Write a copy where there is none."""
        self._redis.hsetnx(self._key(row["username"]), "row", json.dumps(row))

    def put_for(self, row: dict[str, Any], milliseconds: int) -> None:
        """Write a copy that goes away by itself."""
        with self._redis.pipeline(transaction=True) as batch:
            batch.hset(self._key(row["username"]), "row", json.dumps(row))
            batch.pexpire(self._key(row["username"]), milliseconds)
            batch.execute()

    def drop(self, username: str) -> None:
        """Forget a copy."""
        self._redis.delete(self._key(username))

    def add(self, username: str, counter: str, stream: str | None = None) -> bool:
        """Add one to a counter of a copy; False, and nothing is done, if there is none.

        With `stream`, a message that says so is left there, in the same step.
        """
        keys, words = [self._key(username)], [f"{counter}_count"]
        if stream is not None:
            keys.append(stream)
            words += ["username", username, "counter", counter]
        return bool(self._add(keys=keys, args=words))

    def close(self) -> None:
        """Close the connections."""
        self._cache.close()
        self._redis.close()

    def _key(self, username: str) -> str:
        return self._cache.redis_key(username)
