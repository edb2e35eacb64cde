"""How this package opens Redis: with limits to its patience. And the scripts in `lua/`."""

from importlib.resources import files
from typing import Any

import redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.connection import parse_url
from redis.retry import Retry

__all__ = ["open_async_redis", "open_redis", "script"]

LOST = (redis.ConnectionError,)
"""A server that restarted leaves dead connections; one that is silent had its time."""


def open_redis(redis_url: str, *, retries: int = 1) -> redis.Redis:
    """Return a client that gives up after 5 s and tries a dead connection once again.

    `retries=0` is for what must not be done twice.
    """
    retry = Retry(NoBackoff(), retries, supported_errors=LOST)
    return redis.Redis.from_url(redis_url, retry=retry, **_options(redis_url))


def open_async_redis(redis_url: str) -> AsyncRedis:
    """Return the same for an event loop."""
    retry = AsyncRetry(NoBackoff(), 1, supported_errors=LOST)
    return AsyncRedis.from_url(redis_url, retry=retry, **_options(redis_url))


def script(client: redis.Redis, *names: str) -> Script:
    """One script of the files `lua/NAME`, one after the other."""
    folder = files("reactive_demo.redis_cache") / "lua"
    return client.register_script("".join((folder / name).read_text() for name in names))


def _options(redis_url: str) -> dict[str, Any]:
    return {
        "decode_responses": True,
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "encoding_errors": "replace",  # what others wrote may be anything
        **({} if parse_url(redis_url).get("path") else {"socket_keepalive": True}),
    }
