"""Whatever happens to a cluster or to what sentinels watch: in the end the cache equals the table,
and nothing older was published after something newer."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
import redis

from reactive_demo import Cache, Listener, ReadThrough
from reactive_demo.redis_cache.client import subscribing
from reactive_demo.redis_cache.cluster import slot_of
from reactive_demo.servers.cluster import EmbeddedCluster, EmbeddedSentinel
from reactive_demo.tools.doctor import State
from reactive_demo.tools.doctor.cache import examine
from reactive_demo.tutorial.web.reader import Reader
from tools.agreement import Traffic, agree
from tools.loops import run_coroutine
from tools.waiting import until

pytestmark = pytest.mark.long

QUIET = 10.0
"""Seconds after the last write within which cache and table must agree."""

Cluster = EmbeddedCluster
Listen = Callable[..., Listener]


class Published:
    """Hears what is published of all rows for as long as the block lasts, and what went back."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._newest: dict[str, int] = {}
        self.heard = 0
        self.went_back: list[tuple[str, int, int]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._over.is_set():
            with suppress(redis.RedisError), subscribing(self._url) as ear:
                ear.psubscribe("profile:*")
                while not self._over.is_set():
                    message = ear.get_message(timeout=0.1)
                    if message and message["data"] and message["type"] == "pmessage":
                        self._note(message["channel"], json.loads(message["data"]))

    def _note(self, name: str, message: dict[str, Any]) -> None:
        self.heard += 1
        version, newest = int(message["version"]), self._newest.get(name, 0)
        if version < newest:
            self.went_back.append((name, newest, version))
        self._newest[name] = max(version, newest)


@pytest.fixture
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster that nobody else uses."""
    with Cluster(folder / "cluster") as own:
        yield own


def primary_is_killed(cluster: Cluster, chosen: random.Random, traffic: Traffic) -> None:
    lost = chosen.choice(cluster.primaries)
    lost.kill()
    cluster.await_promotion(lost)
    traffic.flow()
    lost.start()


def replica_takes_over(cluster: Cluster, chosen: random.Random, _: Traffic) -> None:
    cluster.fail_over(chosen.choice(cluster.primaries))


def replica_takes_over_unasked(cluster: Cluster, chosen: random.Random, _: Traffic) -> None:
    cluster.fail_over(chosen.choice(cluster.primaries), "TAKEOVER")


def node_is_emptied(cluster: Cluster, chosen: random.Random, _: Traffic) -> None:
    chosen.choice(cluster.primaries).client.flushall()


def slots_are_migrated(cluster: Cluster, chosen: random.Random, traffic: Traffic) -> None:
    for number in chosen.sample(range(200), 10):
        slot = slot_of(f"profile:user {number}")
        to = chosen.choice([node for node in cluster.primaries if slot not in cluster.slots(node)])
        cluster.migrate_slot(slot, to, pause=lambda: traffic.flow(20))


def node_is_added_and_removed(cluster: Cluster, chosen: random.Random, traffic: Traffic) -> None:
    first = chosen.randrange(15_000)
    node = cluster.add_node(range(first, first + 200))
    traffic.flow()
    cluster.remove_node(node)


FAULTS = [
    primary_is_killed,
    replica_takes_over,
    replica_takes_over_unasked,
    node_is_emptied,
    slots_are_migrated,
    node_is_added_and_removed,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_cluster_heals(
    cluster: Cluster, database: str, listen: Listen, seed: int, fault: Callable[..., None]
) -> None:
    cache = Cache(cluster.url)
    listener = listen(database, cache)
    with Published(cluster.url) as published:
        with Traffic(database, seed) as traffic:
            fault(cluster, random.Random(seed), traffic)
            traffic.flow()
        agree(database, cache, timeout=QUIET)
        until("something was heard", lambda: published.heard)
    assert published.went_back == []
    assert not listener.quarantine
    cache.close()


def test_two_things_happen_at_once(
    cluster: Cluster, database: str, listen: Listen, seed: int
) -> None:
    """A primary dies while its slots are on the move, and another is emptied."""
    cache, chosen = Cache(cluster.url), random.Random(seed)
    listen(database, cache)
    with Traffic(database, seed) as traffic:
        slots_are_migrated(cluster, chosen, traffic)
        lost, emptied = chosen.sample(cluster.primaries, 2)
        lost.kill()
        emptied.client.flushall()
        cluster.await_promotion(lost)
        traffic.flow()
    agree(database, cache, timeout=QUIET)
    cache.close()


def test_read_through_goes_on_while_slots_move(
    cluster: Cluster, database: str, connection: psycopg.Connection, listen: Listen
) -> None:
    connection.execute("INSERT INTO profile SELECT 'user ' || n FROM generate_series(0, 199) n")
    cache = Cache(cluster.url)
    listen(database, cache)
    agree(database, cache)
    with ReadThrough(database, cache) as rows:

        def read_all() -> None:
            for n in range(0, 200, 7):
                cache._redis.delete(f"profile:user {n}")
                assert rows.get(f"user {n}")["username"] == f"user {n}"

        source = cluster.primaries[0]
        slots = {slot_of(f"profile:user {n}") for n in range(200)} & set(cluster.slots(source))
        for slot in sorted(slots)[:5]:
            cluster.migrate_slot(slot, cluster.primaries[1], pause=read_all)
        cluster.fail_over(cluster.primaries[1])
        read_all()
    cache.close()


async def seen_by_the_web_app(redis_url: str) -> object:
    reader, name = Reader(redis_url), "profile:user 1"
    try:
        assert await reader.heartbeat_age() < 5
        async with reader.subscription() as ear:
            await ear.subscribe(name)
            assert (await ear.get_message(timeout=5))["type"] == "subscribe"
        row = (await reader.read([name]))[name].row
        return row and json.loads(row)
    finally:
        await reader.close()


def test_what_sentinels_watch_heals(folder: Path, database: str, listen: Listen, seed: int) -> None:
    """The replica lags when the primary dies: the fencing token tells that writes are lost."""
    with EmbeddedSentinel(folder / "sentinel") as watched:
        cache = Cache(watched.url)
        listener = listen(database, cache)
        with Published(watched.url) as published:
            with Traffic(database, seed) as traffic:
                first = watched.primary
                first.kill()
                watched.await_promotion(first)
                first.start()
                traffic.flow()
            agree(database, cache, timeout=QUIET)
            with ReadThrough(database, cache) as rows:
                assert rows.get("user 1") == cache.get("user 1")
        assert run_coroutine(seen_by_the_web_app(watched.url)) == cache.get("user 1")
        told = {line.subject: line for line in examine(watched.url, "your own", "here")}
        assert {line.state for line in told.values()} == {State.OK}
        assert told["Redis sentinels"].words.endswith(watched.primary.address)
        assert published.went_back == []
        assert not listener.quarantine
        cache.close()
