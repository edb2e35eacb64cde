"""The cache as the app reads it, without blocking the event loop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from redis.asyncio import Redis, RedisCluster

from reactive_demo.redis_cache.client import (
    as_redis_errors,
    connect_async_redis,
    subscribing_async,
)
from reactive_demo.redis_cache.keys import feed_key, row_key, stamp

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

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
        self._url = redis_url
        self._client: Redis | RedisCluster | None = None
        self._connecting = asyncio.Lock()

    def channel(self, key: str) -> str:
        """Return the Redis key of a row, which is its channel too."""
        return row_key(self._table, key)

    @asynccontextmanager
    async def subscription(self) -> AsyncIterator["PubSub"]:
        """Open a new subscription, on a connection of its own."""
        async with subscribing_async(await self._connected()) as pubsub:
            yield pubsub

    async def read(self, channels: Sequence[str]) -> dict[str, Cached]:
        """Return the rows under these Redis keys, in one round trip."""
        client = await self._connected()
        with as_redis_errors():
            async with client.pipeline(transaction=False) as pipeline:
                for channel in channels:
                    pipeline.hmget(channel, ["row", "version"])
                replies = await pipeline.execute(raise_on_error=False) if channels else []
        return {channel: _cached(reply) for channel, reply in zip(channels, replies, strict=True)}

    async def heartbeat_age(self) -> int | None:
        """Return the seconds since any listener's last sign of life; None if there was none."""
        client, feed = await self._connected(), feed_key(self._table)
        if isinstance(client, RedisCluster):
            with as_redis_errors():
                alive = await client.hget(feed, "alive")
                node = client.get_node_from_key(feed)
                now, _ = await node.execute_command("TIME") if node else (0, 0)
        else:
            async with client.pipeline(transaction=False) as pipeline:
                pipeline.time()
                pipeline.hget(feed, "alive")
                (now, _), alive = await pipeline.execute()
        return None if alive is None else max(0, int(now) - int(alive))

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _connected(self) -> Redis | RedisCluster:
        """Return the client; only the server knows whether it is a cluster's node."""
        async with self._connecting:
            if self._client is None:
                self._client = await connect_async_redis(self._url)
            return self._client


def _cached(reply: Any) -> Cached:
    """Read HMGET's reply; a key that holds anything else than a hash holds no row."""
    if isinstance(reply, redis.ResponseError) and str(reply).startswith("WRONGTYPE"):
        return Cached(None, None)
    if isinstance(reply, Exception):
        raise reply
    row, version = reply
    known = stamp(version)
    return Cached(row, known and known.version)
