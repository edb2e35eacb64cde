"""A cluster behind the same interface: each node is a server of its own to the scripts."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest
import redis

from reactive_demo import Cache, Listener, Profiles, ReadThrough, connect
from reactive_demo.changes import Batch, Change, Lease, Versioned
from reactive_demo.changes import State as Doing
from reactive_demo.errors import FencedError
from reactive_demo.redis_cache.cluster import slot_of, tag_of
from reactive_demo.redis_cache.keys import feed_key, marker_key
from reactive_demo.servers.cluster import EmbeddedCluster
from reactive_demo.settings import Settings
from reactive_demo.tools.audit import audit
from reactive_demo.tools.doctor import State
from reactive_demo.tools.doctor.cache import examine
from reactive_demo.tools.rights import missing_rights
from reactive_demo.tools.services import cache_keys, remove_cache
from reactive_demo.tutorial.web.reader import Reader
from tools.agreement import agree, cached
from tools.loops import run_coroutine
from tools.waiting import until

NAMES = [f"user {n}" for n in range(60)]
"""Enough for some to be on every node."""


@pytest.fixture
def cache_url(redis_cluster: EmbeddedCluster) -> str:
    return redis_cluster.url


@pytest.fixture
def client(redis_cluster: EmbeddedCluster) -> Iterator[redis.RedisCluster]:
    """Any cluster client."""
    with redis.RedisCluster.from_url(redis_cluster.primaries[0].url, decode_responses=True) as any_:
        yield any_


@pytest.fixture
def lease(cache: Cache) -> Lease:
    return cache.acquire_lease("a database")


def rows(version: int, names: list[str] = NAMES) -> list[Versioned]:
    return [Versioned(name, json.dumps({"n": version}), str(version)) for name in names]


def write(cache: Cache, lease: Lease, sequence: int, *changes: Versioned, **more: str) -> int:
    batch = Batch(Doing.LIVE, changes, **more)
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
        cache.write(Batch(Doing.LIVE, evict_below="99"), replace(lease, sequence=1))
    assert cached(cache) == {name: {"n": 1} for name in NAMES}
    assert write(newer, second, 0, *rows(2)) == len(NAMES)
    newer.close()


def test_a_batch_that_reached_some_nodes_only_is_repeated(
    redis_cluster: EmbeddedCluster, cache: Cache, lease: Lease
) -> None:
    away = redis_cluster.primary_of("profile:user 1")
    away.ask("CLIENT", "KILL", "TYPE", "normal")
    away.client.config_set("maxclients", 1)
    try:
        with pytest.raises(redis.RedisError):
            write(cache, lease, 0, *rows(1), cursor="1:1:")
    finally:
        away.client.config_set("maxclients", 10_000)
    write(cache, lease, 0, *rows(1), cursor="1:1:")
    assert cached(cache) == {name: {"n": 1} for name in NAMES}
    assert write(cache, lease, 1, *rows(2)) == len(NAMES)


def test_the_cursor_is_that_of_the_node_that_is_furthest_behind(
    redis_cluster: EmbeddedCluster, cache: Cache, client: redis.Redis, lease: Lease
) -> None:
    """As after a failover to a replica that had not heard of the last batch."""
    write(cache, lease, 0, *rows(1), cursor="1:1:")
    marker = marker_key("profile", tag_of(min(redis_cluster.slots(redis_cluster.primaries[1]))))
    behind = client.hgetall(marker)
    write(cache, lease, 1, *rows(2), cursor="2:2:")
    client.hset(marker, mapping=behind)
    with pytest.raises(FencedError):
        write(cache, lease, 2, *rows(3), cursor="3:3:")
    second = cache.acquire_lease("a database")
    assert second.cursor == "1:1:"
    write(cache, second, 0, *rows(4), cursor="4:4:")
    assert cache.acquire_lease("a database").cursor == "4:4:"


@pytest.mark.parametrize("lost", ["marker", "record"])
def test_an_emptied_node_is_filled_in_a_new_epoch(
    redis_cluster: EmbeddedCluster, cache: Cache, lease: Lease, lost: str
) -> None:
    write(cache, lease, 0, *rows(7), cursor="7:7:")
    keeper = redis_cluster.primary_of(feed_key("profile"))
    others = [node for node in redis_cluster.primaries if node is not keeper]
    (keeper if lost == "record" else others[0]).client.flushall()
    with pytest.raises(FencedError):
        write(cache, lease, 1)
    second = cache.acquire_lease("a database")
    if lost == "marker":
        assert second.cursor is None
        second = cache.acquire_lease("a database", new_epoch=True)
    assert (second.cursor, int(second.epoch) > int(lease.epoch)) == (None, True)
    assert write(cache, second, 0, *rows(1, NAMES[:9])) == 9
    write(cache, second, 1, evict_below="0")
    assert cached(cache) == {name: {"n": 1} for name in NAMES[:9]}


def test_an_epoch_that_the_record_lost_is_not_used_again(cache: Cache, client: redis.Redis) -> None:
    cache.acquire_lease("a database")
    before = client.hgetall(feed_key("profile"))
    second = cache.acquire_lease("a database", new_epoch=True)
    write(cache, second, 0, *rows(9), cursor="9:9:")
    client.hset(feed_key("profile"), mapping=before)
    third = cache.acquire_lease("a database")
    assert (third.cursor, int(third.epoch) > int(second.epoch)) == (None, True)
    assert write(cache, third, 0, *rows(1)) == len(NAMES)


def test_a_slot_that_is_being_migrated_is_written_on_both_sides(
    redis_cluster: EmbeddedCluster, cache: Cache, lease: Lease
) -> None:
    write(cache, lease, 0, *rows(1, ["user 1"]))
    source = redis_cluster.primary_of("profile:user 1")
    target = next(node for node in redis_cluster.primaries if node is not source)
    slot = slot_of("profile:user 1")

    def write_both() -> None:
        changes = rows(2, ["user 1", *NAMES])
        changes = list({change.key: change for change in changes}.values())
        assert write(cache, lease, 1, *changes) == len(NAMES)
        gone = Versioned("user 1", None, "3")
        assert write(cache, lease, 2, gone) == 1
        assert write(cache, lease, 3, *rows(4, ["user 1"])) == 1

    try:
        redis_cluster.migrate_slot(slot, target, pause=write_both)
        with pytest.raises(FencedError, match="have changed"):
            write(cache, lease, 4, *rows(5, ["user 1"]))
        assert cached(cache) == {name: {"n": 2} for name in NAMES} | {"user 1": {"n": 4}}
        again = cache.acquire_lease("a database")
        write(cache, again, 0, *rows(5, ["user 1"]))
        assert cache.get("user 1") == {"n": 5}
    finally:
        redis_cluster.migrate_slot(slot, source)


def test_what_is_not_there_yet_is_written_wherever_the_slot_goes(
    redis_cluster: EmbeddedCluster, cache: Cache
) -> None:
    """The nodes' parts are sent in one order; the row may have to go to an earlier or a later."""
    source, slot = redis_cluster.primary_of("profile:user 1"), slot_of("profile:user 1")
    others = [node for node in redis_cluster.primaries if node is not source]
    for version, target in enumerate([*others, source], 1):
        lease = cache.acquire_lease("a database")
        cache._redis.delete("profile:user 1")

        def write_all(version: int = version, lease: Lease = lease) -> None:
            assert write(cache, lease, 0, *rows(version)) > 0  # what was begun is not counted again

        redis_cluster.migrate_slot(slot, target, pause=write_all)
        assert cached(cache) == {name: {"n": version} for name in NAMES}


def test_a_table_is_followed_and_what_reads_the_cache_works(
    cache: Cache, database: str, profiles: Profiles, listen: Callable[..., Listener]
) -> None:
    for name in NAMES:
        profiles.increment(name, "likes")
    listener = listen(database, cache)
    heard: list[object] = []
    with (
        closing(cache.subscribe("ada", heard.append)),
        ReadThrough(database, cache) as rows_read,
    ):
        cache.wait_for("ada", profiles.increment("ada", "likes"))
        until("the watcher tells", lambda: heard and heard[-1] == cache.get("ada"))
        cache._redis.delete("profile:user 7")
        assert rows_read.get("user 7")["username"] == "user 7"
        assert cache.get("user 7") == rows_read.get("user 7")
    agree(database, cache)
    assert audit(database, cache, again=()).agrees
    assert cache.leaders.seconds_without_leader() < 5
    assert not cache.missing_rights()
    assert listener.stats.unannounced == 0
    listener.stop()
    kept = cache_keys(cache.redis_url, "profile")
    assert len([key for key in kept if key.startswith("reactive_demo:feed:")]) == 4
    assert remove_cache(cache.redis_url, "profile") == len(kept)
    assert cache_keys(cache.redis_url, "profile") == []


def test_rows_without_versions_are_written_too(cache: Cache) -> None:
    cache.put([Change(name, {"n": 1}) for name in NAMES])
    cache.put([Change("user 1", None)])
    assert cached(cache) == {name: {"n": 1} for name in NAMES if name != "user 1"}


def test_the_web_app_reads_and_hears_it(redis_cluster: EmbeddedCluster, cache: Cache) -> None:
    async def follow() -> None:
        reader = Reader(redis_cluster.url)
        assert await reader.heartbeat_age() is None
        cache.acquire_lease("a database")
        assert await reader.heartbeat_age() < 5
        names = [f"profile:{name}" for name in NAMES]
        async with reader.subscription() as ear:
            await ear.subscribe(*names)
            cache.put([Change(name, {"n": 1}) for name in NAMES])
            unheard = set(names)
            async with asyncio.timeout(10):
                while unheard:
                    message = await ear.get_message(ignore_subscribe_messages=True, timeout=1)
                    unheard -= {message["channel"]} if message else set()
        rows = await reader.read(names)
        assert {one.row for one in rows.values()} == {'{"n": 1}'}
        await reader.close()

    run_coroutine(follow())


def test_the_doctor_finds_it_whole(redis_cluster: EmbeddedCluster) -> None:
    for url in (redis_cluster.url, redis_cluster.nodes[-1].url):
        lines = list(examine(url, "your own", "here"))
        assert [line.state for line in lines] == [State.OK] * 5, lines
        assert lines[1].words == "3 primaries, each with a replica"


def test_connect_and_the_rights_accept_it(redis_cluster: EmbeddedCluster, database: str) -> None:
    environment = {"DATABASE_URL": database, "REDIS_URL": redis_cluster.url}
    with connect(Settings.from_environment(environment)) as stack:
        assert stack.redis_url == redis_cluster.url
        assert missing_rights(database, stack.redis_url, "profile") == ""
