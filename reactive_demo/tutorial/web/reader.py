"""The cache as the app reads it, without blocking the event loop."""

import json
from collections.abc import Sequence
from typing import Any

import redis
from redis.asyncio.client import PubSub

from reactive_demo.redis_cache.client import open_async_redis
from reactive_demo.redis_cache.keys import feed_key, row_key

__all__ = ["Reader"]

Cached = tuple[dict[str, Any] | None, str | None]
"""A row, None if there is none, and its version, None if it is unknown."""


class Reader:
    """Reads the cached rows of a table.

    The methods raise redis.RedisError when Redis does not answer within 5 s.
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
            replies = await pipeline.execute(raise_on_error=False)
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
    """Read HMGET's reply; a key that holds anything else holds no row."""
    if isinstance(reply, redis.ResponseError):
        return None, None
    if isinstance(reply, Exception):
        raise reply
    text, version = reply
    try:
        row = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None, None
    return (row, version) if isinstance(row, dict | None) else (None, None)
