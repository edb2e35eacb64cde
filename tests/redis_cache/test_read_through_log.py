"""Read-through where a listener reads the log: what is stored is never older than what is told."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from reactive_demo import Cache, Listener, LogFeed, Profiles, ReadThrough, install, uninstall
from reactive_demo.options import Options
from reactive_demo.redis_cache.keys import stamp
from tools.agreement import Traffic, agree, cached
from tools.servers import PostgresServer
from tools.waiting import until

Listen = Callable[..., Listener]

QUICK = Options(heartbeat=0.1)


@pytest.fixture
def database(empty_database: str) -> Iterator[str]:
    install(empty_database, feed="log")
    yield empty_database
    uninstall(empty_database)


def version_of(cache: Cache, key: str) -> int:
    held = stamp(cache._redis.hget(cache.redis_key(key), "version"))
    assert held is not None
    return int(held.version)


def test_what_is_missed_is_stored_with_a_version_that_only_later_changes_beat(
    database: str, cache: Cache, profiles: Profiles, listen: Listen
) -> None:
    listen(LogFeed(database, options=QUICK), cache)
    cache.wait_for("ada", profiles.increment("ada", "likes"))
    told = version_of(cache, "ada")
    cache._redis.unlink("profile:ada")
    with ReadThrough(database, cache) as rows:
        assert rows.get("ada") == profiles.get("ada")
        assert rows.get("eve") is None
    assert version_of(cache, "ada") > told
    for name in ("ada", "eve"):
        profiles.increment(name, "likes")
    agree(database, cache)


def test_under_traffic_with_rows_that_vanish(database: str, cache: Cache, listen: Listen) -> None:
    listen(LogFeed(database, options=QUICK), cache)
    with ReadThrough(database, cache) as rows, Traffic(database) as traffic:
        for n in range(100):
            name = f"user {n}"
            cache._redis.unlink(cache.redis_key(name))
            rows.get(name)
        traffic.flow()
    with ReadThrough(database, cache) as rows:
        for n in range(100):
            rows.get(f"user {n}")
    agree(database, cache)


def test_a_row_is_not_stored_while_somebody_writes_the_table_for_long(
    database: str, cache: Cache, profiles: Profiles, listen: Listen
) -> None:
    listen(LogFeed(database, options=QUICK), cache)
    cache.wait_for("ada", profiles.increment("ada", "likes"))
    cache._redis.unlink("profile:ada")
    with ReadThrough(database, cache) as rows:
        with psycopg.connect(database) as writer:
            writer.execute("INSERT INTO profile (username) VALUES ('long')")
            for _ in range(3):
                assert rows.get("ada")["likes_count"] == 1
            assert not cached(cache)
        assert rows.get("ada")["likes_count"] == 1
        assert cache.get("ada")["likes_count"] == 1


END_WAIT = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
"""The commit is done, and its writer is warned that no standby has it."""


def test_a_commit_that_is_in_the_log_and_not_yet_visible(
    folder: Path, cache: Cache, listen: Listen
) -> None:
    """It waits for a standby: the listener has told its change, and a snapshot is without it."""
    server = PostgresServer(folder, "synchronous_standby_names=nobody", "synchronous_commit=local")
    server.start()
    try:
        install(server.url, feed="log")
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("INSERT INTO profile VALUES ('ada', 1)")
            listen(LogFeed(server.url, options=QUICK), cache)
            connection.execute("UPDATE profile SET likes_count = 7")  # now it knows the columns
            agree(server.url, cache)
            writer = threading.Thread(target=add_one, args=[server.url], daemon=True)
            writer.start()
            until("it is told", lambda: cache.get("ada")["followings_count"] == 2)
            cache._redis.unlink("profile:ada")
            repeatable = "-c default_transaction_isolation=repeatable\\ read"
            with ReadThrough(make_conninfo(server.url, options=repeatable), cache) as rows:
                assert rows.get("ada")["followings_count"] == 1
                assert cache.get("ada") is None
                connection.execute(END_WAIT)
                writer.join(20)
                assert rows.get("ada")["followings_count"] == 2
            agree(server.url, cache)
    finally:
        server.stop(signal.SIGQUIT)


def add_one(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = on")
        connection.execute("UPDATE profile SET followings_count = 2")
