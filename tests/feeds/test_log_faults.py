"""What only the feed that reads PostgreSQL's log can suffer: of its slot, its rights, its log.

What every durable feed must survive is in `tests/pipeline/test_faults.py`.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from reactive_demo import Cache, Listener, LogFeed, Profiles, install
from reactive_demo.capture.slots import drop_slots
from reactive_demo.changes import State
from reactive_demo.errors import RefusedError, UnavailableError
from reactive_demo.options import Options
from reactive_demo.waiting import StopEvent
from tools.agreement import Traffic, agree
from tools.databases import backends
from tools.durable import LOG, Durable, slot
from tools.redis_server import RedisServer
from tools.servers import Door, PostgresServer, Process
from tools.waiting import until

Listen = Callable[..., Listener]


@pytest.fixture
def durable() -> Durable:
    return LOG


@pytest.fixture
def options() -> Options:
    return Options(heartbeat=0.1, standby_poll=0.1, max_backoff=0.2)


@pytest.fixture
def feed(database: str, options: Options) -> LogFeed:
    return LogFeed(database, options=options)


@pytest.fixture
def small_log(folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that keeps no more than 1 MB of its log for anyone."""
    server = PostgresServer(folder, "max_slot_wal_keep_size=1MB")
    server.start()
    install(server.url, feed="log")
    yield server
    server.stop()


def lose_the_slot(connection: psycopg.Connection) -> None:
    """Write more log than is kept."""
    for _ in range(3):
        connection.execute("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")
    connection.execute("CHECKPOINT")
    until("the slot is lost", lambda: slot(connection, "wal_status") == "lost")


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
    with psycopg.connect(database) as writer:  # and when the cache is filled again
        writer.execute("DELETE FROM profile WHERE username = 'long'")
        cache._redis.flushall()
        pid = writer.info.backend_pid
        until("it names the writer", lambda: f"process {pid} (for " in listener.status_text)
    agree(database, cache)


def test_a_transaction_across_the_beginning_wins_over_the_filled_row(
    database: str, feed: LogFeed, cache: Cache, listen: Listen, connection: psycopg.Connection
) -> None:
    """It changes a row before the slot's position, and commits after: not in the snapshot.

    A new slot waits for the transactions that it meets, and then for those that it meets then: two
    or three times, by what else the server does. It does not wait for the one that begins last.
    """
    names = [f"met {number}" for number in range(6)]
    for name in names:
        connection.execute("INSERT INTO profile (username) VALUES (%s)", [name])

    def awaited() -> list[str]:
        found = connection.execute(
            "SELECT b.application_name FROM pg_stat_activity a JOIN pg_stat_activity b"
            " ON b.pid = ANY (pg_blocking_pids(a.pid))"
            " WHERE a.application_name = 'reactive_demo stream profile'"
        )
        return [name for (name,) in found]

    def change(name: str) -> psycopg.Connection:
        writer = psycopg.connect(database, application_name=name)
        writer.execute("UPDATE profile SET likes_count = 77 WHERE username = %s", [name])
        return writer

    writers = [change(names[0])]
    listener = listen(feed, cache, state="catching up")
    while listener.state is not State.LIVE:
        met, last = names[len(writers) - 1 : len(writers) + 1]
        until(
            f"it waits for {met}, or does not",
            lambda met=met: awaited() == [met] or listener.state is State.LIVE,
        )
        if listener.state is not State.LIVE:
            writers.append(change(last))
            writers[-2].commit()
    across = names[len(writers) - 1]
    assert cache.get(across)["likes_count"] == 0
    writers[-1].commit()
    until("the change is there", lambda: cache.get(across)["likes_count"] == 77)
    for writer in writers:
        writer.close()
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
    feed: LogFeed, cache: Cache, connection: psycopg.Connection, door: Door, listen: Listen
) -> None:
    database, feed.database_url = feed.database_url, door.url
    connection.execute(
        "INSERT INTO profile (username) SELECT 'u' || n FROM generate_series(1, 20000) n"
    )
    door.open()
    listener = listen(feed, cache, state="catching up")
    until("some rows are there", lambda: any(cache.scan()))
    assert not cache.has_cursor()
    door.shut()
    connection.execute("UPDATE profile SET likes_count = 1 WHERE username = 'u1'")
    connection.execute("INSERT INTO profile (username) VALUES ('new')")
    door.open()
    listener.wait_until("live", 30)
    agree(database, cache)


# What a server may not, or does not


def test_a_server_whose_log_cannot_be_decoded_is_refused(folder: Path) -> None:
    server = PostgresServer(folder, "wal_level=replica")
    server.start()
    try:
        with pytest.raises(RefusedError, match=r"wal_level is replica.*restart"):
            install(server.url, feed="log")
    finally:
        server.stop()


@pytest.fixture
def reader(connection: psycopg.Connection) -> Iterator[str]:
    """An account that may do all that a listener does, but for reading the log."""
    connection.execute("DROP ROLE IF EXISTS rd_log_reader")
    connection.execute(
        """
        CREATE ROLE rd_log_reader LOGIN;
        GRANT USAGE ON SCHEMA reactive TO rd_log_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA reactive TO rd_log_reader;
        GRANT SELECT ON profile TO rd_log_reader;
        GRANT EXECUTE ON FUNCTION pg_control_system() TO rd_log_reader
        """
    )
    yield "rd_log_reader"
    connection.execute("DROP OWNED BY rd_log_reader; DROP ROLE rd_log_reader")


def test_an_account_that_may_not_read_the_log_is_told_so(
    cache: Cache, connection: psycopg.Connection, feed: LogFeed, reader: str, listen: Listen
) -> None:
    """Before it leads, and also when the right is taken away while it does."""
    database = feed.database_url
    feed.database_url = database.replace("//reactive_demo@", f"//{reader}@")
    listener = listen(feed, cache, state="connecting")
    advice = f"ALTER ROLE {reader} REPLICATION"
    until("it says what to do", lambda: advice in listener.status_text)
    connection.execute(advice.encode())
    listener.wait_until("live")
    connection.execute(f"ALTER ROLE {reader} NOREPLICATION".encode())
    connection.execute("INSERT INTO profile (username) VALUES ('ada')")
    agree(database, cache)  # a session that streams keeps its right
    (stream,) = backends(connection, "reactive_demo stream")
    connection.execute("SELECT pg_terminate_backend(%s, 5000)", [stream])
    until("it says what to do", lambda: advice in listener.status_text)
    connection.execute("INSERT INTO profile (username) VALUES ('bob')")
    connection.execute(advice.encode())
    listener.wait_until("live")
    agree(database, cache)
    listener.stop()


@pytest.mark.long
@pytest.mark.parametrize("setting", ["wal_level=replica", "max_replication_slots=0"])
def test_a_server_that_makes_no_slots_any_more_is_told_so(
    folder: Path, cache: Cache, options: Options, listen: Listen, setting: str
) -> None:
    """PostgreSQL itself refuses to start with a slot then, so the slot was dropped before."""
    server = PostgresServer(folder)
    server.start()
    install(server.url, feed="log")
    listener = listen(LogFeed(server.url, options=options), cache)
    listener.stop()
    with psycopg.connect(server.url, autocommit=True) as connection:
        until("the slot is free", lambda: slot(connection, "active") is False)
        connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    server.stop()
    poorer = PostgresServer(folder, setting)
    poorer.start()
    try:
        listener = listen(LogFeed(poorer.url, options=options), cache, state="connecting")
        name = setting.partition("=")[0]
        says = re.compile(rf"makes no slot \(.*{name}.*\): set wal_level = logical and")
        until("it says what to do", lambda: says.search(listener.status_text))
        listener.stop()
    finally:
        poorer.stop()


@pytest.mark.long
@pytest.mark.parametrize("lagging", [False, True], ids=["up to date", "without the last commits"])
def test_a_standby_is_promoted(
    folder: Path, cache: Cache, options: Options, listen: Listen, *, lagging: bool
) -> None:
    """Its slots are not the primary's, and it may not have what the cache has."""
    primary = PostgresServer(folder)
    primary.start()
    install(primary.url, feed="log")
    way = Door(primary.url, folder)
    way.open()
    standby = primary.standby(folder / "other")
    try:
        standby.start()
        listener = listen(LogFeed(way.url, options=options), cache)
        with psycopg.connect(primary.url, autocommit=True) as connection:
            connection.execute("INSERT INTO profile (username) VALUES ('kept')")
            ((end,),) = connection.execute("SELECT pg_current_wal_flush_lsn()")
            with psycopg.connect(standby.url, autocommit=True) as follower:
                reached = "SELECT pg_last_wal_replay_lsn() >= %s"
                until("it follows", lambda: follower.execute(reached, [end]).fetchone()[0])
            if lagging:
                standby.stop()
                connection.execute("INSERT INTO profile (username) VALUES ('lost')")
        agree(primary.url, cache)
        primary.stop()
        if lagging:
            standby.start()
        standby.promote()
        way.lead_to(standby.sockets)
        with psycopg.connect(standby.url, autocommit=True) as connection:
            connection.execute("INSERT INTO profile (username) VALUES ('new')")
        agree(standby.url, cache, timeout=20)
        assert cache.get("lost") is None
        assert (cache.get("kept"), cache.get("new")) != (None, None)
        listener.wait_until("live")
        listener.stop()
    finally:
        standby.stop()
        primary.stop()


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


def test_a_slot_is_dropped_from_under_a_listener_that_comes_back_for_it(
    feed: LogFeed, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    listener = listen(feed, cache)
    for times in range(1, 6):
        drop_slots(connection, "public.profile")
        until("it has begun again", lambda n=times: listener.stats.reconnects >= n)
        listener.wait_until("live")
    agree(feed.database_url, cache)


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


def test_a_slot_lost_to_the_limit_heals(
    small_log: PostgresServer, cache: Cache, options: Options, listen: Listen
) -> None:
    """While nobody reads it."""
    feed = LogFeed(small_log.url, options=options)
    listen(feed, cache).stop()
    with psycopg.connect(small_log.url, autocommit=True) as connection:
        connection.execute("INSERT INTO profile (username) VALUES ('ada')")
        until("the slot is free", lambda: slot(connection, "active") is False)
        lose_the_slot(connection)
    listener = listen(feed, cache)
    agree(small_log.url, cache)
    listener.stop()


@pytest.mark.long
def test_a_slot_lost_to_the_limit_under_a_leader_heals(
    small_log: PostgresServer,
    own_redis: RedisServer,
    options: Options,
    listen: Listen,
) -> None:
    """While its reader waits for a frozen Redis: PostgreSQL ends the connection that lags."""
    cache = Cache(f"{own_redis.url}?socket_timeout=0.3")
    listener = listen(LogFeed(small_log.url, options=options), cache)
    with psycopg.connect(small_log.url, autocommit=True) as connection:
        own_redis.freeze()
        connection.execute("INSERT INTO profile (username) VALUES ('ada')")
        listener.wait_until("degraded")
        lose_the_slot(connection)
        connection.execute("INSERT INTO profile (username) VALUES ('bob')")
        own_redis.thaw()
        agree(small_log.url, cache)
        assert slot(connection, "wal_status") == "reserved"
    listener.stop()


def test_redis_is_older_than_the_slot(
    database: str,
    connection: psycopg.Connection,
    own_redis: RedisServer,
    feed: LogFeed,
    listen: Listen,
) -> None:
    """It comes back with a dump, and the slot has let go of what that does not contain."""
    cache = Cache(own_redis.url)
    listener = listen(feed, cache)
    connection.execute("INSERT INTO profile (username) VALUES ('ada'), ('bob')")
    agree(database, cache)
    own_redis.save()
    connection.execute("DELETE FROM profile WHERE username = 'ada'")
    ((end,),) = connection.execute("SELECT pg_current_wal_flush_lsn()")
    agree(database, cache)
    until("it is confirmed", lambda: slot(connection, f"confirmed_flush_lsn >= '{end}'"))
    own_redis.kill()
    own_redis.start()
    agree(database, cache)
    assert cache.get("ada") is None
    listener.stop()
    cache.close()


def test_a_slot_that_retains_much_is_told_of(
    database: str, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    # Of the 1 GB that the server allows, 1 %.
    options = Options(heartbeat=0.1, retained_log_share=0.01)
    listener = listen(LogFeed(database, options=options), cache)
    until("it is known", lambda: listener.stats.retained_log is not None)
    assert listener.status_text == "live"
    with psycopg.connect(database) as long:
        long.execute("INSERT INTO profile (username) VALUES ('long')")
        connection.execute(
            "SELECT pg_logical_emit_message(false, '', repeat('x', 1000000))"
            " FROM generate_series(1, 30)"
        )
        until("it warns", lambda: "the slot retains " in listener.status_text)
        assert "(max_slot_wal_keep_size): end the transaction" in listener.status_text
        assert listener.stats.retained_log > 10_000_000


def test_the_slot_advances_past_what_it_does_not_follow(
    feed: LogFeed, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    listen(feed, cache)
    connection.execute("CREATE TABLE other (n int)")
    for _ in range(10):
        connection.execute("INSERT INTO other SELECT generate_series(1, 1000)")
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


def test_a_slot_that_moves_on_at_the_last_moment_is_not_read_from_where_it_was(
    database: str, connection: psycopg.Connection
) -> None:
    """PostgreSQL would skip in silence what the reader before this one has confirmed."""
    feed, stopping = LogFeed(database), StopEvent()
    with feed.open() as first, feed.open() as second:
        batches = first.batches(None, stopping)
        cursor = next(batch.cursor for batch in batches if batch.cursor)
        until("it is live", lambda: next(batches).state is State.LIVE)
        assert second.can_resume(cursor)
        connection.execute("INSERT INTO profile (username) VALUES ('ada')")
        until("it comes", lambda: next(batches).changes)
        next(batches)
        first._stream.confirm(0, at_once=True)
        moved = f"confirmed_flush_lsn - '0/0' > {cursor.removeprefix('lsn:')}"
        until("it is confirmed", lambda: slot(connection, moved))
        with pytest.raises(UnavailableError, match="moved on"):
            next(second.batches(cursor, stopping))
        stopping.set()


# Size


def position(cursor: str) -> int:
    return int(cursor.removeprefix("lsn:"))


def test_a_large_transaction_comes_in_pieces(connection: psycopg.Connection, feed: LogFeed) -> None:
    """No cursor passes it until it has ended; a sign of life has the last one."""
    rows, stopping = 5_000, StopEvent()
    with feed.open() as session:
        batches = session.batches(None, stopping)
        until("it is live", lambda: next(batches).state is State.LIVE)
        ((before,),) = connection.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        connection.execute(
            "INSERT INTO profile (username) SELECT 'user ' || n FROM generate_series(1, %s) n",
            [rows],
        )
        seen, cursors = 0, []
        while seen < rows:
            batch = next(batches)
            assert len(batch.changes) <= feed.options.batch_rows
            seen += len(batch.changes)
            if batch.changes:
                cursors.append(batch.cursor)
        *parts, last = cursors
        end = last or next(batch.cursor for batch in batches if batch.cursor)
        assert position(end) > before
        assert all(position(cursor) < position(end) for cursor in parts if cursor)
        stopping.set()


@pytest.mark.long
def test_large_rows_of_many_keys_do_not_fill_the_memory(
    database: str, connection: psycopg.Connection, cache: Cache
) -> None:
    """As the log tells them, and as they are looked up because their text is stored apart."""
    connection.execute("ALTER TABLE profile ADD bio text")
    connection.execute("ALTER TABLE profile ALTER bio SET STORAGE EXTERNAL")
    process = Process(database, cache)
    try:
        process.wait_until("live")
        grown = Growth(process.pid)
        count = 500
        connection.execute(
            "INSERT INTO profile (username, bio)"
            " SELECT n, repeat('x', 500000) FROM generate_series(1, %s) n",
            [count],
        )
        grown.until("all are there", lambda: sum(1 for _ in cache.scan()) == count)
        connection.execute("UPDATE profile SET likes_count = 1")
        grown.until(
            "all are changed",
            lambda: all(cache.get(str(n))["likes_count"] for n in range(count, 0, -1)),
        )
        assert grown.most < 100, f"{grown.most:.0f} MB, and the rows have 250"
    finally:
        assert process.end() == 0


@pytest.mark.long
def test_a_transaction_of_a_million_rows_comes_in_pieces(
    database: str, connection: psycopg.Connection, cache: Cache, client: redis.Redis
) -> None:
    process = Process(database, cache)
    try:
        process.wait_until("live")
        grown = Growth(process.pid)
        count = 1_000_000
        connection.execute(
            "INSERT INTO profile (username) SELECT 'user ' || n FROM generate_series(1, %s) n",
            [count],
        )
        grown.until("all are there", lambda: client.dbsize() == count + 1)
        assert grown.most < 30, f"{grown.most:.0f} MB; all of it at once would take 500"
    finally:
        assert process.end() == 0
        client.flushall()


class Growth:
    """How many MB more than at first a process has to itself, at the most."""

    def __init__(self, pid: int) -> None:
        self._memory = psutil.Process(pid).memory_full_info
        self._first = self._memory().uss
        self.most = 0.0

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Watch it until `condition` is true."""

        def look() -> bool:
            self.most = max(self.most, (self._memory().uss - self._first) / 1e6)
            return condition()

        until(what, look, timeout=180)
