"""Whatever breaks: when it is quiet again, every key in the cache equals its row.

One list of faults for both durable feeds; what only one of them can suffer is in `tests/feeds`.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from reactive_demo import Cache, ChangeTableFeed, Listener, Profiles, uninstall
from reactive_demo.changes import Batch, Lease
from reactive_demo.feeds.change_table import ChangeTableSession
from reactive_demo.options import Options
from reactive_demo.redis_cache.keys import feed_key
from reactive_demo.tutorial.chapter_setup import install_article
from reactive_demo.tutorial.fault_proxy import FaultProxy
from tools.agreement import QUIET, Traffic, agree, cache_follows, cached, carry
from tools.databases import backends
from tools.durable import BOTH, Durable, change_table_only, long_for_the_log
from tools.redis_server import RedisServer
from tools.servers import PostgresServer, Process
from tools.waiting import until

Listen = Callable[..., Listener]

MANY = "INSERT INTO public.profile SELECT 'user ' || n FROM generate_series(1, %s) n"


@pytest.fixture(params=BOTH)
def durable(request: pytest.FixtureRequest) -> Durable:
    return request.param


@pytest.fixture
def options() -> Options:
    """A heart that beats fast: what nothing announces is noticed soon."""
    return Options(heartbeat=0.5)


@pytest.fixture
def processes(database: str, cache: Cache) -> Iterator[Callable[..., Process]]:
    """Start listeners in processes of their own, which end with the test."""
    started: list[Process] = []

    def start(heartbeat: float = 2.0) -> Process:
        started.append(Process(database, cache, heartbeat))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture
def ten_rows(database: str, connection: psycopg.Connection, cache: Cache, listen: Listen) -> None:
    """A listener at work, and ten rows that are in the cache."""
    listen(database, cache)
    connection.execute(MANY, [10])
    agree(database, cache)


def epoch(client: redis.Redis) -> str | None:
    """The number of the cache's present history: it changes when the cache is filled again."""
    return client.hget(feed_key("profile"), "epoch")


# The listener


def test_its_backend_is_terminated(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen, durable: Durable
) -> None:
    listener = listen(database, cache)
    ended: set[int] = set()
    with Traffic(database) as traffic:
        for turn in range(5):
            until(
                "it has a new backend",
                lambda: set(backends(connection, durable.application)) - ended,
            )
            listener.wait_until("live")  # one that ends while it connects counts as no reconnect
            (backend,) = set(backends(connection, durable.application)) - ended
            connection.execute("SELECT pg_terminate_backend(%s)", [backend])
            ended.add(backend)
            until("it noticed", lambda turn=turn: listener.stats.reconnects > turn)
            traffic.flow()
    agree(database, cache)


@long_for_the_log
def test_it_is_killed_in_the_middle_of_a_batch(
    database: str,
    connection: psycopg.Connection,
    cache: Cache,
    client: redis.Redis,
    processes: Any,
) -> None:
    killed = processes()
    killed.wait_until("live")
    connection.execute(MANY, [20_000])
    until("some rows are in the cache", lambda: len(list(cache.scan())) > 500)
    killed.kill()
    held, before = len(cached(cache)), epoch(client)
    connection.execute("DELETE FROM public.profile WHERE username LIKE '%7'")
    processes().wait_until("live")
    agree(database, cache)
    assert held < 20_000
    assert epoch(client) == before, "it goes on where the other ended"


@long_for_the_log
def test_it_is_frozen_while_it_sleeps_and_woken_after_another_took_over(
    database: str, connection: psycopg.Connection, cache: Cache, processes: Any
) -> None:
    frozen = processes(heartbeat=0.3)
    frozen.wait_until("live")
    connection.execute(MANY, [10])
    agree(database, cache)
    frozen.freeze()
    other = processes(heartbeat=0.3)
    other.wait_until("live")
    connection.execute("UPDATE public.profile SET likes_count = 1")
    agree(database, cache)
    frozen.wake()
    frozen.wait_until("standby")
    connection.execute("UPDATE public.profile SET likes_count = 2")
    agree(database, cache)
    assert frozen.end() == 0
    assert frozen.words[-1].endswith("profile: stopped")


def test_it_is_held_up_between_reading_and_writing_and_its_late_batch_is_refused(
    database: str, connection: psycopg.Connection, valkey_url: str, listen: Listen
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    class Slow(Cache):
        """As if its process were frozen before it writes."""

        def write(self, batch: Batch, lease: Lease | None, *, partial: bool = False) -> int:
            if any(key == "ada" for key, *_ in batch.changes):
                reached.set()
                go_on.wait(20)
            return super().write(batch, lease, partial=partial)

    cache = Cache(valkey_url)
    late = listen(database, Slow(valkey_url))
    connection.execute("INSERT INTO public.profile VALUES ('ada')")
    assert reached.wait(5)
    with ThreadPoolExecutor(1) as elsewhere:
        newest = elsewhere.submit(listen, database, cache, takeover=True).result(20)
    connection.execute("DELETE FROM public.profile")
    connection.execute("INSERT INTO public.profile VALUES ('bob')")
    agree(database, cache)
    applied = late.stats.applied
    go_on.set()
    late.wait_until("standby")
    assert late.stats.applied == applied
    agree(database, cache)
    assert newest.state == "live"


def test_one_leads_another_stands_by_and_follows_when_it_ends(
    database: str, cache: Cache, client: redis.Redis, listen: Listen
) -> None:
    leader = listen(database, cache)
    before = epoch(client)
    standby = listen(database, cache, state="standby")
    with Traffic(database) as traffic:
        leader.stop()
        standby.wait_until("live")
        traffic.flow()
        newest = listen(database, cache, takeover=True)
        traffic.flow()
    agree(database, cache)
    assert newest.stats.reconnects == 0
    standby.wait_until("standby")
    assert epoch(client) == before, "each goes on where the one before it ended"


def test_two_caches_follow_the_same_table(
    database: str,
    connection: psycopg.Connection,
    cache: Cache,
    own_redis: RedisServer,
    listen: Listen,
) -> None:
    other = Cache(own_redis.url)
    listen(database, cache)
    listen(database, other)
    with Traffic(database) as traffic:
        traffic.flow(500)
    agree(database, cache)
    agree(database, other)
    connection.execute("UPDATE public.profile SET likes_count = -1")
    agree(database, cache)
    agree(database, other)


# PostgreSQL


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGINT, id="fast", marks=pytest.mark.long),
        pytest.param(signal.SIGQUIT, id="immediate", marks=pytest.mark.long),
        pytest.param(signal.SIGKILL, id="kill -9"),
    ],
)
def test_postgresql_stops_and_starts_again(
    own_postgres: PostgresServer, cache: Cache, listen: Listen, how: signal.Signals
) -> None:
    listen(own_postgres.url, cache)
    with Traffic(own_postgres.url) as traffic:
        traffic.flow()
        own_postgres.stop(how)
        own_postgres.start()
        traffic.flow()
    agree(own_postgres.url, cache)


@pytest.mark.parametrize(
    "recover",
    [
        pytest.param(True, id="new timeline"),
        pytest.param(False, id="as it was", marks=pytest.mark.long),
    ],
)
def test_an_older_backup_is_restored_under_a_cache_that_is_ahead(
    own_postgres: PostgresServer, cache: Cache, listen: Listen, folder: Path, *, recover: bool
) -> None:
    listener = listen(own_postgres.url, cache)
    with Traffic(own_postgres.url):
        pass
    own_postgres.backup(folder / "backup")
    with Traffic(own_postgres.url, seed=1), Profiles(own_postgres.url) as profiles:
        profiles.increment("not in the backup", "likes")
    agree(own_postgres.url, cache)
    ahead = cached(cache)
    own_postgres.stop()
    own_postgres.restore(folder / "backup", recover=recover)
    own_postgres.start()
    listener.wait_until("live", timeout=20)
    agree(own_postgres.url, cache)
    assert cached(cache) != ahead
    with Traffic(own_postgres.url, seed=2):
        pass
    agree(own_postgres.url, cache)


@long_for_the_log
def test_a_connection_goes_silent_without_closing(
    database: str, cache: Cache, wire: FaultProxy, listen: Listen, durable: Durable
) -> None:
    options = Options(heartbeat=0.3, silence_timeout=0.5)
    listener = listen(durable.follow(wire.url, options=options), cache)
    wire.forget()  # while it sleeps
    with Traffic(database):
        pass
    agree(database, cache)
    with Traffic(database) as traffic:
        wire.forget()  # while it works
        traffic.flow()
    agree(database, cache)
    assert listener.stats.reconnects >= 2


# Redis


@pytest.mark.parametrize("saved", [False, True], ids=["empty", "with older data"])
def test_redis_starts_again(
    database: str, own_redis: RedisServer, listen: Listen, *, saved: bool
) -> None:
    cache = Cache(own_redis.url)
    listen(database, cache)
    with Traffic(database) as traffic:
        if saved:
            own_redis.save()
        traffic.flow()
        own_redis.stop()
        traffic.flow()
        own_redis.start()
        traffic.flow()
    agree(database, cache)


def test_redis_comes_back_with_older_data_and_nothing_changes_after_that(
    database: str, connection: psycopg.Connection, own_redis: RedisServer, listen: Listen
) -> None:
    cache = Cache(own_redis.url)
    listen(database, cache)
    connection.execute(MANY, [10])
    agree(database, cache)
    own_redis.save()
    connection.execute("UPDATE public.profile SET likes_count = 1")
    agree(database, cache)
    own_redis.stop()
    own_redis.start()
    agree(database, cache)


@pytest.mark.usefixtures("ten_rows")
def test_redis_is_flushed_while_nothing_happens(
    database: str, cache: Cache, client: redis.Redis
) -> None:
    client.flushall()
    agree(database, cache)


@change_table_only
@pytest.mark.usefixtures("ten_rows")
def test_redis_is_flushed_beside_a_transaction_that_stays_open(
    database: str, cache: Cache, client: redis.Redis
) -> None:
    """The log's feed needs a new slot then, which waits: `tests/feeds/test_log_faults.py`."""
    with psycopg.connect(database) as busy:
        busy.execute("INSERT INTO public.profile VALUES ('ada')")
        client.flushall()
        agree(database, cache)
    agree(database, cache)


@pytest.mark.parametrize("filling", [True, False], ids=["of a fill", "of a read"])
def test_redis_is_flushed_between_two_batches(
    database: str,
    connection: psycopg.Connection,
    valkey_url: str,
    client: redis.Redis,
    listen: Listen,
    *,
    filling: bool,
) -> None:
    class Flushed(Cache):
        """Redis is emptied after the third batch of rows, once."""

        batches = 0

        def write(self, batch: Batch, lease: Lease | None, *, partial: bool = False) -> int:
            written = super().write(batch, lease, partial=partial)
            self.count(batch)
            return written

        def begin_write(self, batch: Batch, lease: Lease) -> Callable[[], int]:
            finish = super().begin_write(batch, lease)

            def then() -> int:
                written = finish()
                self.count(batch)
                return written

            return then

        def count(self, batch: Batch) -> None:
            self.batches += len(batch.changes) > 1
            if self.batches == 3:
                client.flushall()
                self.batches += 1

    cache = Flushed(valkey_url)
    if filling:
        connection.execute(MANY, [3_000])
    listen(database, cache)
    if not filling:
        connection.execute(MANY, [3_000])
    agree(database, cache)
    assert cache.batches > 4


@pytest.mark.usefixtures("ten_rows")
def test_only_the_feeds_own_hash_is_lost(database: str, cache: Cache, client: redis.Redis) -> None:
    with psycopg.connect(database) as writer:
        writer.execute("UPDATE public.profile SET likes_count = 1")
        client.delete("reactive_demo:feed:profile")
    agree(database, cache)


@pytest.mark.parametrize("setting", ["maxmemory", "min-replicas-to-write"])
def test_redis_refuses_writes_for_a_while(
    database: str,
    connection: psycopg.Connection,
    own_redis: RedisServer,
    listen: Listen,
    setting: str,
) -> None:
    cache = Cache(own_redis.url)
    listener = listen(database, cache)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set(setting, 1)
        connection.execute(MANY, [10])
        listener.wait_until("degraded")
        client.config_set(setting, 0)
    agree(database, cache)


def test_somebody_elses_value_has_a_rows_name(
    database: str,
    connection: psycopg.Connection,
    cache: Cache,
    client: redis.Redis,
    listen: Listen,
) -> None:
    client.set("profile:user 3", "hello")
    listen(database, cache)
    connection.execute(MANY, [10])
    agree(database, cache)


def test_redis_is_frozen_for_longer_than_it_is_waited_for(
    database: str, own_redis: RedisServer, listen: Listen
) -> None:
    cache = Cache(f"{own_redis.url}?socket_timeout=0.3")
    listener = listen(database, cache)
    with Traffic(database) as traffic:
        own_redis.freeze()
        listener.wait_until("degraded")
        traffic.flow()
        assert listener.state == "degraded"
        own_redis.thaw()
        listener.wait_until("live")
    agree(database, cache)


# Capture


@pytest.mark.usefixtures("ten_rows")
def test_capture_is_taken_off_and_put_on_again_under_a_listener(
    database: str, connection: psycopg.Connection, cache: Cache, durable: Durable
) -> None:
    install_article(database)
    connection.execute("UPDATE public.profile SET likes_count = 1")
    durable.install(database)
    agree(database, cache)


def test_capture_is_uninstalled_under_a_listener_which_waits_until_it_is_back(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen, durable: Durable
) -> None:
    listener = listen(database, cache)
    uninstall(database)
    until("it waits", lambda: durable.absent in listener.status_text)
    connection.execute(MANY, [10])
    durable.install(database)
    agree(database, cache)


@pytest.mark.usefixtures("ten_rows")
def test_the_table_is_dropped_and_made_again_with_other_columns(
    database: str, connection: psycopg.Connection, cache: Cache, durable: Durable
) -> None:
    connection.execute("DROP TABLE public.profile")
    connection.execute("CREATE TABLE public.profile (username text PRIMARY KEY, mood text)")
    connection.execute("INSERT INTO public.profile VALUES ('ada', 'good')")
    durable.install(database)
    agree(database, cache)


# Data


def test_others_arrive_at_once_beside_a_transaction_that_stays_open(
    database: str, cache: Cache, listen: Listen
) -> None:
    listen(database, cache)
    with psycopg.connect(database) as busy, Profiles(database) as profiles:
        busy.execute("INSERT INTO public.profile VALUES ('slow')")
        for n in range(50):
            profiles.increment(f"user {n}", "likes")
            cache_follows(profiles, cache, f"user {n}")
        assert cache.get("slow") is None
    agree(database, cache)


@pytest.mark.long
def test_a_transaction_stays_open_while_100_000_changes_pile_up_behind_it(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    listen(database, cache)
    with psycopg.connect(database) as busy, Profiles(database) as profiles:
        busy.execute("INSERT INTO public.profile VALUES ('slow')")
        for turn in range(100):
            connection.execute(
                "INSERT INTO public.profile SELECT 'user ' || n"
                " FROM generate_series(%s::int, %s::int) n",
                [turn * 1000, turn * 1000 + 999],
            )
        agree(database, cache, timeout=20)
        for n in range(1_000):
            profiles.increment(f"user {n}", "likes")
            cache_follows(profiles, cache, f"user {n}")
        assert cache.get("slow") is None
    until("it arrives as well", lambda: cache.get("slow"), QUIET)
    agree(database, cache)


def test_rows_of_100_kb_arrive(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen, durable: Durable
) -> None:
    connection.execute("CREATE TABLE page (id text PRIMARY KEY, body text)")
    durable.install(database, "page")
    cache = Cache(cache.redis_url, "page")
    listen(database, cache)
    connection.execute(
        "INSERT INTO page SELECT n, repeat('🐘\"', 25000) FROM generate_series(1, 50) n"
    )
    agree(database, cache, "id")


def test_a_row_that_was_deleted_and_inserted_again_outlives_its_tombstone(
    database: str,
    valkey_url: str,
    client: redis.Redis,
    listen: Listen,
) -> None:
    cache = Cache(valkey_url, tombstone_life=0.1)
    listen(database, cache)
    with Profiles(database) as profiles:
        for name in ("ada", "bob"):
            profiles.increment(name, "likes")
            profiles.delete(name)
            until("the row is gone", lambda name=name: cache.get(name) is None)
        profiles.increment("ada", "likes")
        cache_follows(profiles, cache, "ada")
    until("bob's tombstone is gone", lambda: not client.exists("profile:bob"))
    assert client.pttl("profile:ada") == -1
    agree(database, cache)


def test_truncate_also_removes_rows_that_never_changed(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen, durable: Durable
) -> None:
    install_article(database)
    connection.execute(MANY, [1_000])
    durable.install(database)
    listen(database, cache)
    agree(database, cache)
    with connection.transaction():
        connection.execute("TRUNCATE public.profile")
        connection.execute("INSERT INTO public.profile VALUES ('user 7', 7)")
    agree(database, cache)
    assert len(cached(cache)) == 1


def test_64_writers_of_one_key(database: str, cache: Cache, listen: Listen) -> None:
    listen(database, cache)

    def write(_: int) -> None:
        with Profiles(database) as profiles:
            for _ in range(10):
                profiles.increment("ada", "likes")

    with ThreadPoolExecutor(64) as writers:
        list(writers.map(write, range(64)))
    until("all are counted", lambda: likes(cache) == 640)


@pytest.mark.long
@change_table_only
def test_a_fill_reads_each_row_once_although_every_row_has_changed(
    database: str, connection: psycopg.Connection, cache: Cache
) -> None:
    """With so many changes, the plan that joins them to a page loses the page's order."""
    connection.execute(MANY, [60_000])
    connection.execute("ANALYZE")
    assert carry(database, cache) == 60_000 / 500 + 2
    agree(database, cache)


@pytest.mark.long
def test_100_000_rows_by_copy_and_by_one_update_behind_an_open_transaction(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    listen(database, cache)
    with psycopg.connect(database) as busy, Profiles(database) as profiles:
        busy.execute("INSERT INTO public.profile VALUES ('slow')")
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY public.profile (username) FROM STDIN") as copy,
        ):
            for n in range(100_000):
                copy.write_row([f"user {n}"])
        agree(database, cache, timeout=20)
        connection.execute("UPDATE public.profile SET likes_count = 1")
        agree(database, cache, timeout=20)
        for n in range(100):
            profiles.increment(f"user {n}", "likes")
            cache_follows(profiles, cache, f"user {n}")
    agree(database, cache, timeout=20)
    connection.execute("TRUNCATE public.profile")
    agree(database, cache, timeout=20)


# Falling asleep


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.long)])
def test_no_single_write_is_missed_around_the_falling_asleep(
    database: str, cache: Cache, listen: Listen, durable: Durable, count: int
) -> None:
    listen(durable.follow(database, options=Options(heartbeat=3600)), cache)
    with psycopg.connect(database, autocommit=True) as writer:
        for n in range(1, count + 1):
            writer.execute("SELECT reactive.increment('ada', 'likes')")
            if n % 3:  # else the next comes while the listener is still at work
                until(f"write {n} is there", lambda n=n: likes(cache) == n, pause=0)
    agree(database, cache)


def likes(cache: Cache) -> int:
    return (cache.get("ada") or {"likes_count": 0})["likes_count"]


# Reading and writing at the same time


@change_table_only
@pytest.mark.parametrize("filling", [True, False])
def test_of_a_backlog_one_batch_is_written_while_the_next_is_read(
    database: str,
    connection: psycopg.Connection,
    valkey_url: str,
    listen: Listen,
    *,
    filling: bool,
) -> None:
    told: list[str] = []

    class Telling(Cache):
        def begin_write(self, batch: Batch, lease: Lease) -> Callable[[], int]:
            finish = super().begin_write(batch, lease)
            told.append("begun")

            def then() -> int:
                told.append("finished")
                return finish()

            return then

    class Session(ChangeTableSession):
        def batches(self, *args: Any, **options: Any) -> Iterator[Batch]:
            for batch in super().batches(*args, **options):
                told.append("read" if batch.may_overlap else "must not overlap")
                yield batch

    class Feed(ChangeTableFeed):
        def open(self) -> Session:
            return Session(self)

    cache = Telling(valkey_url)
    if not filling:
        listen(database, cache).stop()
    connection.execute(MANY, [1_600])
    connection.execute("ANALYZE public.profile")  # so much of it is read whole, and hashed
    with Listener(Feed(database), cache) as listener:
        listener.wait_until("live")
        agree(database, cache)
    words = [word for word in told if word != "must not overlap"]
    assert words[:5] == ["read", "begun", "read", "finished", "begun"]
    assert words[-1] == "finished", "before the cursor moves"
    assert words.count("begun") == words.count("finished") >= 3
    assert listener.stats.applied == 1_600


def test_a_cache_may_take_long_to_remove_what_is_gone(
    database: str, cache: Cache, client: redis.Redis, durable: Durable, profiles: Profiles
) -> None:
    """Meanwhile the session is idle, for longer than a leader that follows may be."""
    profiles.increment("ada", "likes")
    feed = durable.follow(database, options=Options(heartbeat=0.3))
    listener = Listener(feed, cache)

    def pause(status: str) -> None:
        if "removing" in status:
            client.client_pause(2_000)

    listener.observe(pause)
    with listener:
        listener.wait_until("live")
        assert listener.stats.reconnects == 0
    agree(database, cache)


def test_a_truncation_with_many_changes_after_it_is_read(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    """The cache removes what is gone while the changes are still being read."""
    connection.execute("INSERT INTO public.profile VALUES ('old')")
    listen(database, cache).stop()
    connection.execute("TRUNCATE public.profile")
    connection.execute(
        "INSERT INTO public.profile SELECT 'user ' || n FROM generate_series(1, 2000) n"
    )
    listen(database, cache)
    agree(database, cache)
