"""The cache as the app reads it, without blocking the event loop."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import redis
from redis.asyncio.client import PubSub

from reactive_demo.redis_cache.client import open_async_redis
from reactive_demo.redis_cache.keys import feed_key, row_key, stamp

__all__ = ["Cached", "Reader"]


class Cached(NamedTuple):
    """What the cache holds under a key."""

    row: str | None
    """The row as text, which others may have written; None if there is none."""
    version: str | None
    """None if it is unknown."""


class Reader:
    """Reads the cached rows of a table.

    The methods raise redis.RedisError when Redis does not answer within 5 s, or refuses.
    """

    def __init__(self, redis_url: str, table: str = "profile") -> None:
        self._table = table
        self._redis = open_async_redis(redis_url)

    def channel(self, key: str) -> str:
        """Return the Redis key of a row, which is its channel too."""
        return row_key(self._table, key)

    def subscription(self) -> PubSub:
        """Return a new subscription, on a connection of its own."""
        return self._redis.pubsub()

    async def read(self, channels: Sequence[str]) -> dict[str, Cached]:
        """Return the rows under these Redis keys, in one round trip."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for channel in channels:
                pipeline.hmget(channel, "row", "version")
            replies = await pipeline.execute(raise_on_error=False) if channels else []
        return {channel: _cached(reply) for channel, reply in zip(channels, replies, strict=True)}

    async def heartbeat_age(self) -> int | None:
        """Return the seconds since any listener's last sign of life; None if there was none."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.hget(feed_key(self._table), "alive")
            (now, _), alive = await pipeline.execute()
        return None if alive is None else max(0, now - int(alive))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _cached(reply: Any) -> Cached:
    """Read HMGET's reply; a key that holds anything else than a hash holds no row."""
    if isinstance(reply, redis.ResponseError) and str(reply).startswith("WRONGTYPE"):
        return Cached(None, None)
    if isinstance(reply, Exception):
        raise reply
    row, version = reply
    known = stamp(version)
    return Cached(row, known and known.version)
