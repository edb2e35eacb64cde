"""How this package opens Redis: with limits to its patience. And the scripts in `lua/`."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any

import redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.connection import AbstractConnection as AsyncConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.connection import AbstractConnection, parse_url
from redis.retry import Retry

from reactive_demo.errors import ConfigurationError

__all__ = ["evictions", "open_async_redis", "open_redis", "script", "send"]

LOST = (redis.ConnectionError,)
"""A server that restarted leaves dead connections; one that is silent had its time."""


ON = "cluster_enabled:1"

IS_CLUSTER = (
    "This Redis is a node of a cluster, which holds only some of the keys: let REDIS_URL name a "
    "Redis or Valkey server that is not part of a cluster."
)


def open_redis(redis_url: str, *, retries: int = 1) -> redis.Redis:
    """Return a client that gives up after 5 s and tries a dead connection once again.

    `retries=0` is for what must not be done twice. When it connects to the node of a cluster, it
    raises ConfigurationError.
    """
    retry = Retry(NoBackoff(), retries, supported_errors=LOST)
    options = _options(redis_url)
    return redis.Redis.from_url(redis_url, retry=retry, redis_connect_func=_greet, **options)


def open_async_redis(redis_url: str) -> AsyncRedis:
    """Return the same for an event loop."""
    retry = AsyncRetry(NoBackoff(), 1, supported_errors=LOST)
    options = _options(redis_url)
    return AsyncRedis.from_url(redis_url, retry=retry, redis_connect_func=_agreet, **options)


def script(client: redis.Redis, *names: str) -> Script:
    """One script of the files `lua/NAME`, one after the other."""
    folder = files("reactive_demo.redis_cache") / "lua"
    return client.register_script("".join((folder / name).read_text() for name in names))


def send(
    client: redis.Redis, script: Script, keys: Sequence[str], args: Sequence[Any]
) -> Callable[[], Any]:
    """Send a script that the server has; return what waits for the reply, to be called once."""
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_command("EVALSHA", script.sha, len(keys), *keys, *args)
    except BaseException:
        pool.release(connection)
        raise

    def reply() -> Any:
        try:
            return connection.read_response()
        finally:
            pool.release(connection)

    return reply


def evictions(client: redis.Redis) -> tuple[int, int]:
    """Return at how many bytes Redis evicts any key, and how many it has evicted so far.

    Both are 0 if it never does, or the account may not ask.
    """
    with suppress(redis.exceptions.NoPermissionError):
        facts: Any = client.info()
        if str(facts.get("maxmemory_policy")).startswith("allkeys-"):
            return int(facts.get("maxmemory", 0)), int(facts.get("evicted_keys", 0))
    return 0, 0


def _greet(connection: AbstractConnection) -> None:
    """Log in as usual, and see that the server is no node of a cluster."""
    connection.on_connect()
    connection.send_command("INFO", "cluster")
    with suppress(redis.ResponseError):  # the account may have no right to ask, or a script runs
        if ON in str(connection.read_response()):
            connection.disconnect()
            raise ConfigurationError(IS_CLUSTER)


async def _agreet(connection: AsyncConnection) -> None:
    await connection.on_connect()
    await connection.send_command("INFO", "cluster")
    with suppress(redis.ResponseError):
        if ON in str(await connection.read_response()):
            await connection.disconnect()
            raise ConfigurationError(IS_CLUSTER)


def _options(redis_url: str) -> dict[str, Any]:
    return {
        "decode_responses": True,
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "encoding_errors": "replace",  # what others wrote may be anything
        **({} if parse_url(redis_url).get("path") else {"socket_keepalive": True}),
    }
