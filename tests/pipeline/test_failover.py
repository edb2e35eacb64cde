"""PostgreSQL fails over: the cache ends equal to the new primary, whatever the old one had."""

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest

from reactive_demo import (
    Cache,
    ChangeTableFeed,
    Listener,
    LogFeed,
    NotifyFeed,
    Profiles,
    ReadThrough,
    install,
)
from reactive_demo.errors import ReactiveDemoError, UnavailableError
from reactive_demo.feeds import Feed
from reactive_demo.postgres import open_postgres
from reactive_demo.servers.pair import PostgresPair
from reactive_demo.servers.topology import Topology
from reactive_demo.tools.audit import audit
from reactive_demo.tools.services import resync
from reactive_demo.tutorial.chapter_setup import install_article
from tools.agreement import Traffic, Witness, agree, cached, stored
from tools.waiting import until

Listen = Callable[..., Listener]

FEEDS = {"change table": ChangeTableFeed, "log": LogFeed}
SOON = 10.0
"""Seconds of quiet after which cache and database must agree."""


@pytest.fixture
def synchronous() -> bool:
    """Whether commits wait for the standby."""
    return False


@pytest.fixture
def pair(*, synchronous: bool) -> Iterator[PostgresPair]:
    """A primary and its standby, without capture."""
    with PostgresPair(synchronous=synchronous, settings=["fsync=off"]) as servers:
        yield servers


@pytest.fixture(params=[pytest.param("change table"), pytest.param("log", marks=pytest.mark.long)])
def feed(request: pytest.FixtureRequest, pair: PostgresPair) -> Feed:
    """Each durable feed, installed."""
    install(pair.database_url, feed=request.param)
    return FEEDS[request.param](pair.database_url)


@pytest.fixture
def silent_host() -> Iterator[str]:
    """The port of a host that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield str(silent.getsockname()[1])


def connect(url: str) -> psycopg.Connection:
    return open_postgres(url, "traffic", pinned=False, silence_timeout=5)


def unship(pair: PostgresPair) -> None:
    """Let the standby, which has all there is, receive nothing from here on."""
    with connect(pair.primary.url) as primary:
        (written,) = primary.execute("SELECT pg_current_wal_lsn()").fetchone() or ()
    with psycopg.connect(pair.standby.url, autocommit=True) as connection:
        until(
            "it has what was written",
            lambda: (
                connection.execute("SELECT pg_last_wal_replay_lsn() >= %s", [written]).fetchone()
                == (True,)
            ),
        )
        connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        connection.execute("SELECT pg_reload_conf()")
        until(
            "it receives nothing",
            lambda: connection.execute("SELECT FROM pg_stat_wal_receiver").fetchone() is None,
            20,
        )


def increments(profiles: Profiles, username: str) -> Callable[[], bool]:
    """A condition: an increment is done."""

    def succeed() -> bool:
        try:
            profiles.increment(username, "likes")
        except UnavailableError:
            return False
        return True

    return succeed


@pytest.mark.long
@pytest.mark.parametrize("synchronous", [False, True], ids=["asynchronous", "synchronous"])
def test_the_primary_is_killed_under_writes(
    pair: PostgresPair, feed: Feed, cache: Cache, listen: Listen, seed: int
) -> None:
    choose = random.Random(seed)
    listener = listen(feed, cache)
    with Witness(cache), Traffic(pair.database_url, seed, connect) as traffic:
        traffic.flow(choose.randrange(1, 200))
        pair.primary.kill()
        pair.promote()
        traffic.flow()
        pair.standby.start()  # the former primary, as it was
        traffic.flow(choose.randrange(1, 200))
    listener.wait_until("live")
    agree(pair.primary.url, cache, timeout=SOON)


@pytest.mark.long
def test_primaries_of_both_are_killed_at_once(listen: Listen, seed: int) -> None:
    with Topology() as topology, closing(Cache(topology.redis_url)) as cache:
        pair, cluster = topology.postgres, topology.redis
        install(topology.database_url)
        listener = listen(topology.database_url, cache)
        with Traffic(topology.database_url, seed, connect) as traffic:
            lost = random.Random(seed).choice(cluster.primaries)
            lost.kill()
            pair.primary.kill()
            pair.promote()
            cluster.await_promotion(lost)
            traffic.flow()
        listener.wait_until("live", 20)
        agree(pair.primary.url, cache, timeout=SOON)
        listener.stop()


def test_commits_that_were_never_shipped_are_gone_from_the_cache(
    pair: PostgresPair, feed: Feed, cache: Cache, listen: Listen
) -> None:
    listen(feed, cache)
    with Profiles(pair.database_url) as profiles:
        profiles.increment("shipped", "likes")
        agree(pair.primary.url, cache)
        unship(pair)
        profiles.increment("shipped", "likes")
        profiles.increment("never shipped", "likes")
        agree(pair.primary.url, cache)
        assert set(cached(cache)) == {"shipped", "never shipped"}
        pair.primary.kill()
        pair.promote()
        until("the app writes again", increments(profiles, "later"), SOON)
        agree(pair.primary.url, cache, timeout=SOON)
        assert set(cached(cache)) == {"shipped", "later"}


def test_a_former_primary_that_comes_back_is_left_alone(
    pair: PostgresPair, feed: Feed, cache: Cache, listen: Listen
) -> None:
    """It takes writes, and is the first in the URL; a listener of its own is refused."""
    listener = listen(feed, cache)
    pair.primary.kill()
    pair.promote()
    pair.standby.start()
    assert pair.standby.is_writable
    with Profiles(pair.standby.url) as astray, Profiles(pair.database_url) as profiles:
        astray.increment("astray", "likes")
        profiles.increment("ada", "likes")
        assert set(stored(pair.primary.url)) == {"ada"}
        assert profiles.get("astray") is None
        agree(pair.primary.url, cache, timeout=SOON)
        listener.stop()
        stale = Listener(type(feed)(pair.standby.url), cache)
        with stale, Profiles(pair.standby.url) as more:
            until("it is refused", lambda: "an earlier one" in stale.status_text, SOON)
            more.increment("astray", "likes")
        listen(type(feed)(pair.database_url), cache)
        agree(pair.primary.url, cache, timeout=SOON)
    assert set(cached(cache)) == {"ada"}


@pytest.mark.long
def test_the_articles_feed_goes_on_with_the_new_primary(
    pair: PostgresPair, cache: Cache, listen: Listen
) -> None:
    """What was never shipped stays in the cache until the row changes: it has no epochs."""
    install_article(pair.database_url)
    listener = listen(NotifyFeed(pair.database_url), cache)
    with connect(pair.primary.url) as connection:
        unship(pair)
        connection.execute("INSERT INTO profile (username, likes_count) VALUES ('ada', 7)")
        agree(pair.primary.url, cache)
    pair.primary.kill()
    pair.promote()
    pair.standby.start()
    until("it listens", lambda: listener.stats.reconnects > 0, SOON)
    listener.wait_until("live")
    assert cached(cache)["ada"]["likes_count"] == 7
    with connect(pair.database_url) as connection:
        connection.execute("INSERT INTO profile (username, likes_count) VALUES ('ada', 1)")
    agree(pair.primary.url, cache, timeout=SOON)


def test_resync_follows_the_promotion(pair: PostgresPair, cache: Cache, listen: Listen) -> None:
    install(pair.database_url)
    unship(pair)
    listen(ChangeTableFeed(pair.database_url), cache).stop()
    with Profiles(pair.database_url) as profiles:
        profiles.increment("never shipped", "likes")
    pair.primary.kill()
    pair.promote()
    resync(pair.database_url, cache.redis_url, "profile")
    agree(pair.primary.url, cache, timeout=SOON)


@pytest.mark.long
def test_a_silent_first_host_does_not_hold_up_the_second(
    pair: PostgresPair, cache: Cache, listen: Listen, silent_host: str
) -> None:
    """Every part of the package reads the same URL."""
    hosts = ",".join(["127.0.0.1", *(str(node.folder) for node in pair.nodes)])
    url = f"host={hosts} port={silent_host},5432,5432 user=reactive_demo dbname=reactive_demo"
    install(url)
    listen(ChangeTableFeed(url), cache)
    with Profiles(url) as profiles, ReadThrough(url, cache) as rows:
        profiles.increment("ada", "likes")
        pair.primary.kill()
        pair.promote()
        until("the app writes again", increments(profiles, "ada"), SOON)
        agree(pair.primary.url, cache, timeout=SOON)
        assert rows.get("ada") == profiles.get("ada")
        assert audit(url, cache).agrees


@pytest.mark.long
def test_hosts_of_which_none_is_a_primary_are_all_named(pair: PostgresPair) -> None:
    pair.primary.kill()
    with Profiles(pair.database_url) as profiles:
        with pytest.raises(ReactiveDemoError, match=r"read-only|standby") as caught:
            profiles.increment("ada", "likes")
        assert caught.value.transient
        pair.standby.kill()
        with pytest.raises(ReactiveDemoError, match=r"none of 2 hosts .*/a: .*/b: "):
            profiles.increment("ada", "likes")


def test_a_standby_on_its_own_leads_nobody(pair: PostgresPair, cache: Cache) -> None:
    install(pair.database_url)
    with pytest.raises(psycopg.OperationalError, match="hot standby"):
        ChangeTableFeed(pair.standby.url).open()
    assert list(cache.scan()) == []
