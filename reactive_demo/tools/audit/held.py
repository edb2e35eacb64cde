"""The cached rows, as any client of Redis reads them."""

from collections.abc import Sequence

import redis

from reactive_demo.changes import Versioned
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.keys import stamp
from reactive_demo.redis_cache.store import reading

__all__ = ["held"]

NO_HASH = "no hash"
"""In place of the row, where the key holds another type; it is no JSON either."""


def held(client: redis.Redis, cache: Cache, keys: Sequence[str]) -> dict[str, Versioned]:
    """Return the cached rows of `keys`; None as the row of an absent key or a tombstone."""
    with reading(client) as batch:
        for key in keys:
            batch.hmget(cache.redis_key(key), "row", "version")
        replies = batch.execute(raise_on_error=False)
    return {key: _read(key, reply) for key, reply in zip(keys, replies, strict=True)}


def _read(key: str, reply: object) -> Versioned:
    if isinstance(reply, redis.ResponseError) and str(reply).startswith("WRONGTYPE"):
        return Versioned(key, NO_HASH, "")
    if isinstance(reply, Exception):
        raise reply
    row, version = reply if isinstance(reply, list) else (None, None)
    known = stamp(version)
    return Versioned(key, row, known.version if known else "")
