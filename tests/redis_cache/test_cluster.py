"""A cluster behind the same interface: each node is a server of its own to the scripts."""

import json
from dataclasses import replace

import pytest
import redis

from reactive_demo import Cache
from reactive_demo.changes import Batch, Lease, State, Versioned
from reactive_demo.errors import FencedError
from reactive_demo.servers.cluster import EmbeddedCluster
from tools.agreement import cached

NAMES = [f"user {n}" for n in range(60)]
"""Enough for some to be on every node."""


@pytest.fixture
def cache_url(redis_cluster: EmbeddedCluster) -> str:
    return redis_cluster.url


@pytest.fixture
def lease(cache: Cache) -> Lease:
    return cache.acquire_lease("a database")


def rows(version: int, names: list[str] = NAMES) -> list[Versioned]:
    return [Versioned(name, json.dumps({"n": version}), str(version)) for name in names]


def write(cache: Cache, lease: Lease, sequence: int, *changes: Versioned, **more: str) -> int:
    batch = Batch(State.LIVE, changes, **more)
    return cache.write(batch, replace(lease, sequence=lease.sequence + sequence))


def test_each_key_is_on_the_node_of_its_slot_and_any_client_reads_it(
    redis_cluster: EmbeddedCluster, cache: Cache, lease: Lease
) -> None:
    assert write(cache, lease, 0, *rows(1), cursor="7:7:") == len(NAMES)
    found = {name: redis_cluster.primary_of(f"profile:{name}") for name in NAMES}
    assert len(set(found.values())) == 3
    for name, node in found.items():
        assert json.loads(node.client.hget(f"profile:{name}", "row")) == {"n": 1}
    assert cached(cache) == {name: {"n": 1} for name in NAMES}
    assert cache.get_many(["user 1", "nobody"]) == {"user 1": {"n": 1}, "nobody": None}
    with redis.RedisCluster.from_url(redis_cluster.primaries[0].url) as plain:
        assert plain.hget("profile:user 1", "row")


def test_a_fenced_leaders_batch_is_refused_on_every_node(cache: Cache, lease: Lease) -> None:
    write(cache, lease, 0, *rows(1), cursor="7:7:")
    newer = Cache(cache.redis_url)
    second = newer.acquire_lease("a database")
    assert second.cursor == "7:7:"
    for batch in (rows(9), rows(9, ["user 1"]), []):
        with pytest.raises(FencedError):
            write(cache, lease, 1, *batch)
    with pytest.raises(FencedError):
        cache.write(Batch(State.LIVE, evict_below="99"), replace(lease, sequence=1))
    assert cached(cache) == {name: {"n": 1} for name in NAMES}
    assert write(newer, second, 0, *rows(2)) == len(NAMES)
    newer.close()
