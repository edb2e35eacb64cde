"""How this package opens Redis: with limits to its patience. And the scripts in `lua/`.

REDIS_URL names a server, nodes of a cluster (`redis://a:7000,b:7001`; one is enough), or sentinels
(`redis+sentinel://a:26379,b:26379/primary/0`). Nobody need say which server is a node of a cluster:
the server does.
"""

import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

import redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import RedisCluster as AsyncRedisCluster
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.connection import AbstractConnection as AsyncConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.commands.core import Script
from redis.connection import AbstractConnection, parse_url
from redis.exceptions import ClusterDownError, NoPermissionError, RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel

from reactive_demo.errors import ConfigurationError
from reactive_demo.urls import Sentinels, redis_seeds, sentinels

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub as AsyncPubSub
    from redis.client import PubSub

__all__ = [
    "ClusterNodeError",
    "any_server",
    "as_redis_errors",
    "connect_async_redis",
    "connect_redis",
    "database_of",
    "evictions",
    "open_async_redis",
    "open_redis",
    "script",
    "send",
    "subscribing",
    "subscribing_async",
]

LOST = (redis.ConnectionError,)
"""A server that restarted leaves dead connections; one that is silent had its time."""

TIMEOUT = 5
"""Seconds to connect, and to answer."""

SENTINEL_TIMEOUT = 1
"""The same of a sentinel: there are others to ask."""

CLUSTER_RETRIES = 3
"""How often a cluster is asked again for its nodes when one has not answered."""

ON = "cluster_enabled:1"

OF_A_NODE = {"host", "port", "username", "password", "ssl", "decode_responses", "encoding_errors"}
OF_A_NODE |= {"socket_timeout", "socket_connect_timeout", "socket_keepalive"}
"""The options of a cluster's client that suit one of a single node."""

IS_CLUSTER = (
    "This Redis is a node of a cluster, which holds only some of the keys: let REDIS_URL name a "
    "Redis or Valkey server that is not part of a cluster."
)
BY_SOCKET = (
    "This Redis is a node of a cluster, whose nodes are reached by host and port: let REDIS_URL "
    "name those in place of a socket (redis://host:port)."
)
NO_CLUSTER = (
    "The Redis URL names several servers, and they are not the nodes of a cluster: let it name one."
)
ONE_DATABASE = "A cluster has no Redis database but 0: let the Redis URL end in /0."


class ClusterNodeError(ConfigurationError):
    """The server is a node of a cluster, and this is not meant for one."""


class PatientCluster(RedisCluster):
    """A cluster's client that raises nothing but redis.RedisError when nodes are away."""

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command on the node that holds its key."""
        with as_redis_errors():
            return super().execute_command(*args, **kwargs)


@contextmanager
def as_redis_errors() -> Iterator[None]:
    """Raise redis.ClusterDownError where redis-py has an error of no common kind."""
    try:
        yield
    except RedisClusterException as error:
        raise ClusterDownError(str(error)) from error


def open_redis(redis_url: str, *, retries: int = 1) -> redis.Redis:
    """Return a client that gives up after 5 s and tries a dead connection once again.

    `retries=0` is for what must not be done twice. It connects when it is used: to the primary that
    sentinels name, if the URL names them. It raises ClusterNodeError for the node of a cluster.
    """
    retry = Retry(NoBackoff(), retries, supported_errors=LOST)
    if watched := sentinels(redis_url):
        client = _sentinel(Sentinel, watched, Retry(NoBackoff(), 0)).master_for(
            watched.name, retry=retry, **_of_a_primary(watched)
        )
        return cast("redis.Redis", client)
    options = _options(redis_url)
    return redis.Redis.from_url(redis_url, retry=retry, redis_connect_func=_greet, **options)


def connect_redis(redis_url: str) -> redis.Redis:
    """Return a client that has connected; of a cluster, if the server is one's node.

    A cluster's client finds the node of a key by itself, and keeps no transaction or script that
    spans several.
    """
    if sentinels(redis_url):
        return open_redis(redis_url)
    seeds = redis_seeds(redis_url)
    failure: redis.RedisError | None = None
    for seed in seeds:
        client = open_redis(seed)
        try:
            with suppress(NoPermissionError):  # that is an answer too
                client.ping()
        except ClusterNodeError:
            _refuse_socket(seed)
            with as_redis_errors():
                return cast("redis.Redis", _open_cluster(seeds))
        except (redis.ConnectionError, redis.TimeoutError) as error:
            client.close()
            failure = error
        else:
            if len(seeds) > 1:
                raise ConfigurationError(NO_CLUSTER)
            return client
    assert failure  # noqa: S101  (there is at least one seed)
    raise failure


def open_async_redis(redis_url: str) -> AsyncRedis:
    """Return the same as `open_redis` for an event loop."""
    retry = AsyncRetry(NoBackoff(), 1, supported_errors=LOST)
    if watched := sentinels(redis_url):
        client = _sentinel(AsyncSentinel, watched, AsyncRetry(NoBackoff(), 0)).master_for(
            watched.name, retry=retry, **_of_a_primary(watched)
        )
        return cast("AsyncRedis", client)
    options = _options(redis_url)
    return AsyncRedis.from_url(redis_url, retry=retry, redis_connect_func=_agreet, **options)


async def connect_async_redis(redis_url: str) -> AsyncRedis | AsyncRedisCluster:
    """Return the same as `connect_redis` for an event loop."""
    if sentinels(redis_url):
        return open_async_redis(redis_url)
    seeds = redis_seeds(redis_url)
    failure: redis.RedisError | None = None
    for seed in seeds:
        client = open_async_redis(seed)
        try:
            with suppress(NoPermissionError):
                await client.ping()
        except ClusterNodeError:
            await client.aclose()
            _refuse_socket(seed)
            nodes = [AsyncClusterNode(*address) for address in map(_address, seeds)]
            return AsyncRedisCluster(
                startup_nodes=nodes, require_full_coverage=False, **_of_a_cluster(seeds)
            )
        except (redis.ConnectionError, redis.TimeoutError) as error:
            await client.aclose()
            failure = error
        else:
            if len(seeds) > 1:
                raise ConfigurationError(NO_CLUSTER)
            return client
    assert failure  # noqa: S101
    raise failure


def any_server(client: redis.Redis) -> redis.Redis:
    """Return a client of one primary of a cluster; of any other server, `client` itself."""
    if not isinstance(client, RedisCluster):
        return client
    node = random.choice(client.get_primaries())  # noqa: S311
    return cast("redis.Redis", client.get_redis_connection(node))


@contextmanager
def subscribing(redis_url: str) -> Iterator["PubSub"]:
    """Connect for subscriptions: every node of a cluster hears what is published on any."""
    with connect_redis(redis_url) as client, any_server(client).pubsub() as pubsub:
        yield pubsub


@asynccontextmanager
async def subscribing_async(client: AsyncRedis | AsyncRedisCluster) -> AsyncIterator["AsyncPubSub"]:
    """Return the same for an event loop and a client that is there already."""
    if not isinstance(client, AsyncRedisCluster):
        async with client.pubsub() as pubsub:
            yield pubsub
        return
    with as_redis_errors():
        await client.initialize()
    node = random.choice(client.get_primaries())  # noqa: S311
    options = {name: value for name, value in node.connection_kwargs.items() if name in OF_A_NODE}
    async with AsyncRedis(**options) as server, server.pubsub() as pubsub:
        yield pubsub


def database_of(redis_url: str) -> int:
    """Return the number of the Redis database that a URL names."""
    if watched := sentinels(redis_url):
        return watched.db
    return int(parse_url(redis_seeds(redis_url)[0]).get("db") or 0)


def script(client: redis.Redis, *names: str) -> Script:
    """One script of the files `lua/NAME`, one after the other."""
    return client.register_script(_source(names))


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


@cache
def _source(names: tuple[str, ...]) -> str:
    folder = files("reactive_demo.redis_cache") / "lua"
    return "".join((folder / name).read_text() for name in names)


def _open_cluster(seeds: list[str]) -> PatientCluster:
    nodes = [ClusterNode(*address) for address in map(_address, seeds)]
    retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=1), CLUSTER_RETRIES)
    return PatientCluster(
        startup_nodes=nodes, retry=retry, require_full_coverage=False, **_of_a_cluster(seeds)
    )


def _of_a_cluster(seeds: list[str]) -> dict[str, Any]:
    """Return the options of a cluster's client: those of the first seed hold for all nodes."""
    options: dict[str, Any] = dict(parse_url(seeds[0]))
    if int(options.pop("db", 0)):
        raise ConfigurationError(ONE_DATABASE)
    options.pop("host", None), options.pop("port", None)
    if options.pop("connection_class", None):
        options["ssl"] = True
    return {**_options(seeds[0]), **options}


def _refuse_socket(seed: str) -> None:
    """Raise ConfigurationError: what the other nodes are called by is host and port."""
    if parse_url(seed).get("path"):
        raise ClusterNodeError(BY_SOCKET)


def _address(seed: str) -> tuple[str, int]:
    parts: dict[str, Any] = dict(parse_url(seed))
    return parts.get("host", "localhost"), parts.get("port", 6379)


def _sentinel(kind: Any, watched: Sentinels, once: Retry | AsyncRetry) -> Any:
    """Return the sentinels' client, of that kind; it asks each once, and then the next."""
    login = {
        name: watched.options[f"sentinel_{name}"]
        for name in ("username", "password")
        if f"sentinel_{name}" in watched.options
    }
    patience = {"socket_timeout": SENTINEL_TIMEOUT, "socket_connect_timeout": SENTINEL_TIMEOUT}
    asked = {**patience, **login, "decode_responses": True, "retry": once}
    return kind(watched.addresses, sentinel_kwargs=asked)


def _of_a_primary(watched: Sentinels) -> dict[str, Any]:
    """Return the options of the connections to the primary."""
    return {**_options("redis://"), "db": watched.db, **watched.of_the_primary}


def _greet(connection: AbstractConnection) -> None:
    """Log in as usual, and see that the server is no node of a cluster."""
    connection.on_connect()
    connection.send_command("INFO", "cluster")
    with suppress(redis.ResponseError):  # the account may have no right to ask, or a script runs
        if ON in str(connection.read_response()):
            connection.disconnect()
            raise ClusterNodeError(IS_CLUSTER)


async def _agreet(connection: AsyncConnection) -> None:
    await connection.on_connect()
    await connection.send_command("INFO", "cluster")
    with suppress(redis.ResponseError):
        if ON in str(await connection.read_response()):
            await connection.disconnect()
            raise ClusterNodeError(IS_CLUSTER)


def _options(redis_url: str) -> dict[str, Any]:
    return {
        "decode_responses": True,
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "encoding_errors": "replace",  # what others wrote may be anything
        **({} if parse_url(redis_url).get("path") else {"socket_keepalive": True}),
    }
