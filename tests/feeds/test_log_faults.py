"""The feed that reads PostgreSQL's log, while servers, slots and listeners come and go."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from reactive_demo import Cache, Listener, LogFeed, Profiles, install, uninstall
from reactive_demo.changes import State
from reactive_demo.errors import RefusedError
from reactive_demo.options import Options
from reactive_demo.redis_cache.keys import feed_key, stamp
from reactive_demo.waiting import StopEvent
from tools.agreement import Traffic, agree
from tools.redis_server import RedisServer
from tools.servers import Door, PostgresServer
from tools.waiting import until

Listen = Callable[..., Listener]

QUICK = Options(heartbeat=0.1, standby_poll=0.1, max_backoff=0.2)
SLOT = "SELECT {} FROM pg_replication_slots WHERE database = current_database()"


@pytest.fixture
def database(empty_database: str) -> Iterator[str]:
    install(empty_database, feed="log")
    yield empty_database
    uninstall(empty_database)


@pytest.fixture
def feed(database: str) -> LogFeed:
    return LogFeed(database, options=QUICK)


def slot(connection: psycopg.Connection, column: str = "slot_name") -> object:
    """A column of the one slot of this database; None if there is none."""
    found = connection.execute(SLOT.format(column).encode()).fetchone()
    return found and found[0]


# Filling


def test_a_new_slot_waits_for_open_transactions_and_says_so(
    database: str, feed: LogFeed, cache: Cache, listen: Listen, profiles: Profiles
) -> None:
    profiles.increment("ada", "likes")
    with psycopg.connect(database) as writer:
        writer.execute("INSERT INTO profile (username) VALUES ('long')")
        listener = listen(feed, cache, state="catching up")
        pid = writer.info.backend_pid
        until("it names the writer", lambda: f"process {pid} (for " in listener.status_text)
        profiles.increment("ada", "likes")
        writer.execute("UPDATE profile SET likes_count = 3 WHERE username = 'long'")
    listener.wait_until("live")
    agree(database, cache)
    assert cache.get("long")["likes_count"] == 3


def test_a_transaction_across_the_beginning_wins_over_the_filled_row(
    database: str, feed: LogFeed, cache: Cache, listen: Listen, profiles: Profiles
) -> None:
    """It changes a row before the slot's position, and commits after: not in the snapshot.

    A new slot waits for the transactions that it meets, and then for those that it meets then. It
    does not wait for one that begins during the second wait.
    """
    profiles.increment("ada", "likes")
    names = ("met first", "met later", "not met")
    first, second, third = (psycopg.connect(database, application_name=name) for name in names)
    with first, second, third, psycopg.connect(database, autocommit=True) as connection:

        def awaited() -> list[str]:
            found = connection.execute(
                "SELECT b.application_name FROM pg_stat_activity a JOIN pg_stat_activity b"
                " ON b.pid = ANY (pg_blocking_pids(a.pid))"
                " WHERE a.application_name = 'reactive_demo stream profile'"
            )
            return [name for (name,) in found]

        first.execute("INSERT INTO profile (username) VALUES ('first')")
        listener = listen(feed, cache, state="catching up")
        until("it waits for the first", lambda: awaited() == [names[0]])
        second.execute("INSERT INTO profile (username) VALUES ('second')")
        first.commit()
        until("it waits for the second", lambda: awaited() == [names[1]])
        third.execute("UPDATE profile SET likes_count = 77 WHERE username = 'ada'")
        second.commit()
        listener.wait_until("live")
        assert cache.get("ada")["likes_count"] == 1
        third.commit()
        until("the change is there", lambda: cache.get("ada")["likes_count"] == 77)
    agree(database, cache)


def test_a_listener_that_stops_while_its_slot_is_made_leaves_none(
    database: str, feed: LogFeed, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    with psycopg.connect(database) as writer:
        writer.execute("INSERT INTO profile (username) VALUES ('long')")
        listener = listen(feed, cache, state="catching up")
        until("it waits", lambda: "waits for open" in listener.status_text)
        listener.stop()
        until("the slot is gone", lambda: slot(connection) is None)


def test_a_connection_lost_half_way_starts_over(
    database: str, cache: Cache, door: Door, listen: Listen, profiles: Profiles
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO profile (username) SELECT 'u' || n FROM generate_series(1, 20000) n"
        )
    door.open()
    listener = listen(LogFeed(door.url, options=QUICK), cache, state="catching up")
    until("some rows are there", lambda: any(cache.scan()))
    assert not cache.has_cursor()
    door.shut()
    profiles.increment("u1", "likes")
    profiles.increment("new", "likes")
    door.open()
    listener.wait_until("live", 30)
    agree(database, cache)


# Crashes


def test_a_listener_that_ends_is_succeeded_by_one_that_continues(
    database: str, feed: LogFeed, cache: Cache, profiles: Profiles, listen: Listen
) -> None:
    first = listen(feed, cache)
    profiles.increment("ada", "likes")
    agree(database, cache)
    before = stamp(cache._redis.hget(cache.redis_key("ada"), "version"))
    second = listen(feed, cache, state="standby")
    assert "another listener leads" in second.status_text
    first.stop()
    profiles.increment("ada", "likes")
    second.wait_until("live")
    agree(database, cache)
    after = stamp(cache._redis.hget(cache.redis_key("ada"), "version"))
    assert after.epoch == before.epoch, "it was filled again"


FOLLOW = """
import sys
from reactive_demo import Cache, Listener, LogFeed
with Listener(LogFeed(sys.argv[1]), Cache(sys.argv[2])) as listener:
    listener.wait_until("live", 30)
    print("live", flush=True)
    sys.stdin.read()
"""


def test_a_listener_that_is_killed_is_succeeded(
    database: str, feed: LogFeed, cache: Cache, listen: Listen
) -> None:
    words = [sys.executable, "-c", FOLLOW, database, cache.redis_url]
    with Traffic(database) as traffic:
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline() == b"live\n"
            traffic.flow(100)
            epoch = cache._redis.hget(feed_key("profile"), "epoch")
            other.kill()
        traffic.flow(100)
        listen(feed, cache)
        traffic.flow(100)
    agree(database, cache)
    assert cache._redis.hget(feed_key("profile"), "epoch") == epoch  # not filled again


def test_the_newest_takes_over(
    database: str, feed: LogFeed, cache: Cache, listen: Listen, profiles: Profiles
) -> None:
    first = listen(feed, cache, takeover=True)
    second = listen(feed, cache, takeover=True)
    first.wait_until("stopped")
    profiles.increment("ada", "likes")
    agree(database, cache)
    assert second.state is State.LIVE


def test_postgresql_is_killed_and_comes_back(folder: Path, cache: Cache, listen: Listen) -> None:
    server = PostgresServer(folder)
    server.start()
    try:
        install(server.url, feed="log")
        listener = listen(LogFeed(server.url, options=QUICK), cache)
        with Traffic(server.url) as traffic:
            for by in (signal.SIGKILL, signal.SIGQUIT, signal.SIGINT):
                server.stop(by)
                server.start()
                traffic.flow()
                listener.wait_until("live")
                traffic.flow()
        agree(server.url, cache)
        listener.stop()
        uninstall(server.url)
    finally:
        server.stop()


def test_a_server_of_yesterday_is_read_anew(folder: Path, cache: Cache, listen: Listen) -> None:
    server = PostgresServer(folder)
    server.start()
    try:
        install(server.url, feed="log")
        listener = listen(LogFeed(server.url, options=QUICK), cache)
        with psycopg.connect(server.url) as connection:
            connection.execute("INSERT INTO profile (username) VALUES ('kept')")
        agree(server.url, cache)
        server.backup(folder / "backup")
        with psycopg.connect(server.url) as connection:
            connection.execute("INSERT INTO profile (username) VALUES ('lost')")
        agree(server.url, cache)
        server.stop()
        server.restore(folder / "backup", recover=True)
        server.start()
        listener.wait_until("live", 30)
        agree(server.url, cache)
        assert cache.get("lost") is None
        listener.stop()
    finally:
        server.stop()


# Redis


def test_redis_loses_everything_or_goes_back_in_time(
    database: str, feed: LogFeed, own_redis: RedisServer, listen: Listen
) -> None:
    cache = Cache(own_redis.url)
    listen(feed, cache)
    with Traffic(database) as traffic:
        cache._redis.save()
        traffic.flow(200)
        own_redis.kill()
        own_redis.start()  # with what it saved then: its cursor is older than the slot
        traffic.flow(200)
        until("the leader writes", lambda: cache.leaders.seconds_without_leader() < 5)
        cache._redis.flushall()
        traffic.flow(50)
    agree(database, cache)
    cache.close()


def test_a_server_whose_log_cannot_be_decoded_is_refused(folder: Path) -> None:
    server = PostgresServer(folder, "wal_level=replica")
    server.start()
    try:
        with pytest.raises(RefusedError, match=r"wal_level is replica.*restart"):
            install(server.url, feed="log")
    finally:
        server.stop()


def test_an_account_that_may_not_read_the_log_is_told_so(
    database: str, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    connection.execute("DROP ROLE IF EXISTS rd_log_reader")
    connection.execute("CREATE ROLE rd_log_reader LOGIN")
    try:
        connection.execute("GRANT USAGE ON SCHEMA reactive TO rd_log_reader")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA reactive TO rd_log_reader")
        connection.execute("GRANT SELECT ON profile TO rd_log_reader")
        connection.execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO rd_log_reader")
        url = database.replace("//reactive_demo@", "//rd_log_reader@")
        listener = listen(LogFeed(url, options=QUICK), cache, state="connecting")
        advice = "ALTER ROLE rd_log_reader REPLICATION"
        until("it says what to do", lambda: advice in listener.status_text)
        connection.execute(advice.encode())
        listener.wait_until("live")
        listener.stop()
    finally:
        connection.execute("DROP OWNED BY rd_log_reader")
        connection.execute("DROP ROLE rd_log_reader")


# The slot


def test_a_slot_that_was_dropped_is_made_anew(
    database: str, feed: LogFeed, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    listener = listen(feed, cache)
    with Traffic(database) as traffic:
        connection.execute(
            "SELECT pg_terminate_backend(active_pid, 5000),"
            " pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = current_database()"
        )
        traffic.flow()
        until("it connected again", lambda: listener.stats.reconnects > 0)
        listener.wait_until("live")
    agree(database, cache)
    assert slot(connection, "active") is True


def test_a_slot_that_was_moved_on_by_somebody_else_is_made_anew(
    database: str, feed: LogFeed, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    listen(feed, cache).stop()
    connection.execute("INSERT INTO profile (username) VALUES ('ada')")
    until("the slot is free", lambda: slot(connection, "active") is False)
    connection.execute(
        "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_flush_lsn())"
        " FROM pg_replication_slots WHERE database = current_database()"
    )
    listen(feed, cache)
    agree(database, cache)


def test_a_slot_lost_to_the_limit_heals(folder: Path, cache: Cache, listen: Listen) -> None:
    server = PostgresServer(folder, "max_slot_wal_keep_size=1MB")
    server.start()
    try:
        install(server.url, feed="log")
        feed = LogFeed(server.url, options=QUICK)
        listen(feed, cache).stop()
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("INSERT INTO profile (username) VALUES ('ada')")
            until("the slot is free", lambda: slot(connection, "active") is False)
            for _ in range(3):
                connection.execute("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")
            connection.execute("CHECKPOINT")
            until("the slot is lost", lambda: slot(connection, "wal_status") == "lost")
        listener = listen(feed, cache)
        agree(server.url, cache)
        listener.stop()
    finally:
        server.stop()


def test_the_slot_advances_past_what_it_does_not_follow(
    feed: LogFeed, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    listen(feed, cache)
    connection.execute("CREATE TABLE other (n int)")
    connection.execute("INSERT INTO other SELECT generate_series(1, 10000)")
    ((now,),) = connection.execute("SELECT pg_current_wal_flush_lsn()")
    until(
        "the slot is there too",
        lambda: (
            connection.execute(
                b"SELECT FROM pg_replication_slots"
                b" WHERE database = current_database() AND confirmed_flush_lsn >= %s::pg_lsn",
                [now],
            ).fetchone()
            is not None
        ),
        10,
    )


def test_only_what_the_cache_has_is_confirmed(
    feed: LogFeed, connection: psycopg.Connection, profiles: Profiles
) -> None:
    stopping = StopEvent()
    with feed.open() as session:
        batches = session.batches(None, stopping)
        until("it is live", lambda: next(batches).state is State.LIVE)
        profiles.increment("ada", "likes")
        batch = next(batch for batch in batches if batch.changes)
        ((behind,),) = connection.execute(
            "SELECT pg_current_wal_flush_lsn() - confirmed_flush_lsn FROM pg_replication_slots"
            " WHERE database = current_database()"
        )
        assert behind > 0
        end = int(batch.cursor.removeprefix("lsn:"))
        until(
            "it is confirmed",
            lambda: (
                next(batches)
                and connection.execute(
                    b"SELECT confirmed_flush_lsn - '0/0' >= %s FROM pg_replication_slots"
                    b" WHERE database = current_database()",
                    [end],
                ).fetchone()
                == (True,)
            ),
        )
        stopping.set()


# Size


def test_a_large_transaction_comes_in_pieces(database: str, connection: psycopg.Connection) -> None:
    rows, stopping = 200_000, StopEvent()
    feed = LogFeed(database, options=Options(heartbeat=60))  # the session may rest meanwhile
    with feed.open() as session:
        batches = session.batches(None, stopping)
        until("it is live", lambda: next(batches).state is State.LIVE)
        connection.execute(
            "INSERT INTO profile (username)"
            f" SELECT 'user ' || n FROM generate_series(1, {rows}) n".encode()
        )
        memory = psutil.Process().memory_info
        seen, cursors, most, before = 0, set(), 0, memory().rss
        while seen < rows:
            batch = next(batches)
            assert len(batch.changes) <= feed.options.batch_rows
            seen += len(batch.changes)
            cursors.add(batch.cursor if batch.changes else None)
            most = max(most, memory().rss)
        (start,) = cursors - {None}  # where the transaction before it ended
        end = next(batch.cursor for batch in batches if batch.cursor not in (None, start))
        assert int(end.removeprefix("lsn:")) > int(start.removeprefix("lsn:"))
        stopping.set()
    assert most - before < 30_000_000  # all of it at once would take more than 100 MB
