"""What holds the keys of a cache: one server, or a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis
from redis.cluster import RedisCluster

from reactive_demo.redis_cache.client import as_redis_errors, connect_redis, database_of
from reactive_demo.redis_cache.cluster import Cluster
from reactive_demo.redis_cache.one_server import OneServer

if TYPE_CHECKING:
    from redis.client import Pipeline

__all__ = ["Store", "open_store", "reading"]

Store = OneServer | Cluster


def open_store(redis_url: str, table: str, tombstone_life: float) -> Store:
    """Connect, and return what is there."""
    client = connect_redis(redis_url)
    if isinstance(client, RedisCluster):
        return Cluster(client, table, tombstone_life)
    return OneServer(client, table, tombstone_life, database_of(redis_url))


@contextmanager
def reading(client: redis.Redis) -> Iterator["Pipeline"]:
    """Yield a pipeline; a cluster's divides its commands by node."""
    with as_redis_errors(), client.pipeline(transaction=False) as batch:
        yield batch
