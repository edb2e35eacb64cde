"""Capture is put on and taken off: what it refuses, what it waits for, and what it leaves."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from reactive_demo import Cache, Listener, Profiles, ReactiveDemoError, install, uninstall
from reactive_demo.errors import LockTimeoutError, NotCapturedError
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.tutorial.chapter_setup import install_article
from tools.agreement import agree
from tools.waiting import until


def catalogue(connection: psycopg.Connection) -> dict[str, Any]:
    """All that a release might leave behind."""
    kinds = {
        "functions": "SELECT oid::regprocedure::text, prosrc FROM pg_proc"
        " WHERE pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname = 'reactive')",
        "triggers": "SELECT tgrelid::regclass::text, tgname FROM pg_trigger",
        "relations": "SELECT oid, relname, relhastriggers FROM pg_class WHERE oid >= 16384"
        " AND relnamespace <> 'pg_toast'::regnamespace",
        "captured": "SELECT table_name FROM reactive.captured",
        "change": "SELECT table_name, key FROM reactive.change",
        "dependencies": "SELECT count(*) FROM pg_depend",
    }
    return {
        kind: sorted(connection.execute(statement.encode()).fetchall(), key=repr)
        for kind, statement in kinds.items()
    }


def add(connection: psycopg.Connection, *names: str) -> None:
    for name in names:
        connection.execute("INSERT INTO public.profile VALUES (%s)", [name])


# What is refused


def test_a_table_without_primary_key_is_refused_and_says_why(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE heap (n int)")
    with pytest.raises(ReactiveDemoError, match=r"heap has no primary key\. Give it one"):
        install(database, "heap")


@pytest.mark.parametrize("column", ["username", "nonsense", "ctid", ""])
def test_a_column_that_cannot_be_left_out_is_named(database: str, column: str) -> None:
    with pytest.raises(ReactiveDemoError, match=f'column "?{column}"? cannot be left out'):
        install(database, exclude=[column])


def test_a_table_that_is_not_captured_cannot_be_followed(
    database: str, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE TABLE plain (id int PRIMARY KEY)")
    for table in ("plain", "absent"):
        with pytest.raises(NotCapturedError, match=f"reactive-demo install --table {table}"):
            ChangeTableFeed(database, table).open()
    uninstall(database)
    with pytest.raises(NotCapturedError):
        ChangeTableFeed(database).open()


def test_a_key_with_nul_is_a_clear_error(database: str, cache: Cache) -> None:
    with Profiles(database) as profiles, pytest.raises(psycopg.DataError, match=r"NUL \(0x00\)"):
        profiles.increment("a\0b", "likes")
    assert cache.get("a\0b") is None


# On and off


def test_installing_again_waits_for_nobody(database: str, connection: psycopg.Connection) -> None:
    with psycopg.connect(database) as busy:
        add(busy, "ada")  # holds the table, and the change table
        connection.execute("SET lock_timeout = '100ms'")
        connection.execute("SELECT reactive.capture('profile')")
        install(database)
        busy.execute("LOCK public.profile IN ACCESS SHARE MODE")
        install(database)


def test_installing_again_takes_no_lock_that_a_writer_would_wait_for(
    connection: psycopg.Connection,
) -> None:
    with connection.transaction():
        connection.execute("SELECT reactive.capture('profile')")
        held = connection.execute(
            "SELECT relation::regclass::text, mode FROM pg_locks"
            " WHERE pid = pg_backend_pid() AND relation > 16384"
        ).fetchall()
    assert {mode for _, mode in held} <= {"AccessShareLock"}


def test_uninstalling_where_nothing_is_waits_for_nobody(
    database: str, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with psycopg.connect(database) as busy:
        busy.execute("INSERT INTO t VALUES (1)")
        uninstall(database, "t")


def test_a_table_that_stays_locked_is_named_with_the_process_that_locks_it_and_nothing_is_changed(
    empty_database: str,
) -> None:
    with psycopg.connect(empty_database, application_name="accounts") as busy:
        busy.execute("CREATE TABLE t (id int PRIMARY KEY)")
        busy.commit()
        busy.execute("INSERT INTO t VALUES (1)")
        says = (
            rf"The table t stayed locked .* by process {busy.info.backend_pid} \(accounts, "
            r"idle in transaction, its last query begun \d+ s ago\), and was not changed"
        )
        with pytest.raises(LockTimeoutError, match=says):
            install(empty_database, "t", lock_wait=0.2)
        assert busy.execute("SELECT to_regclass('reactive.captured')").fetchone() == (None,)
        busy.commit()
        install(empty_database, "t")
        busy.execute("INSERT INTO t VALUES (2)")
        before = catalogue(busy)
        with pytest.raises(LockTimeoutError, match=says):
            uninstall(empty_database, "t", lock_wait=0.2)
        assert catalogue(busy) == before


@pytest.mark.parametrize("change", [install, uninstall])
def test_a_long_transaction_holds_up_an_installation_but_not_the_writers(
    database: str, connection: psycopg.Connection, change: Callable[..., None]
) -> None:
    """An installation that waits for the table's lock holds up all writers: so it waits briefly."""
    connection.execute("CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0)")
    connection.execute("INSERT INTO t SELECT generate_series(1, 100)")
    if change is uninstall:
        install(database, "t")
    over, written = threading.Event(), [0, 0, 0]

    def write(number: int) -> None:
        with psycopg.connect(database, autocommit=True) as writer:
            while not over.is_set():
                writer.execute("UPDATE t SET n = n + 1 WHERE id = %s", [number])
                written[number] += 1

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, number) for number in range(3)]
        try:
            with psycopg.connect(database) as busy:
                busy.execute("UPDATE t SET n = n + 1 WHERE id = 50")
                changing = threads.submit(change, database, "t")
                until("it waits", lambda: connection.execute(WAITING).fetchall())
                until("it lets others by", lambda: not connection.execute(WAITING).fetchall())
                before = list(written)
                until("all write", lambda: all(map(int.__gt__, written, before)))
                assert not changing.done()
            changing.result(20)
            before = list(written)
            until("all write", lambda: all(map(int.__gt__, written, before)))
        finally:
            over.set()
        for one in writing:
            one.result(5)
    noted = connection.execute("SELECT FROM reactive.change WHERE table_name = 'public.t'")
    assert bool(noted.fetchall()) is (change is install)


def test_no_writer_fails_and_nobody_is_in_a_deadlock_while_capture_comes_and_goes(
    database: str, cache: Cache, listen: Callable[..., Listener]
) -> None:
    with psycopg.connect(database) as writer:
        add(writer, *(f"user {n}" for n in range(100)))
    listen(database, cache)
    over = threading.Event()

    def write(number: int) -> int:
        with psycopg.connect(database) as writer:
            count = 0
            while not over.is_set():
                for n in range(number, 100, 3):  # the same order for all: no deadlock of their own
                    writer.execute(
                        "UPDATE public.profile SET likes_count = likes_count + 1"
                        " WHERE username = %s",
                        [f"user {n}"],
                    )
                    count += 1
                writer.commit()
            return count

    with ThreadPoolExecutor(3) as threads:
        writing = [threads.submit(write, number) for number in range(3)]
        try:
            for _ in range(4):
                uninstall(database)
                install(database)
        finally:
            over.set()
        assert all(one.result(5) for one in writing)
    agree(database, cache)


WAITING = """
    SELECT FROM pg_locks WHERE NOT granted AND relation = 'public.t'::regclass
    AND mode IN ('ShareRowExclusiveLock', 'AccessExclusiveLock')
"""


def test_uninstalling_leaves_no_trace(database: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (9)")
    before = catalogue(connection)
    install(database, "t")
    connection.execute("INSERT INTO t VALUES (1)")
    assert catalogue(connection) != before
    uninstall(database, "t")
    after = catalogue(connection)
    for kind in ("functions", "triggers", "captured", "change", "dependencies"):
        assert after[kind] == before[kind]
    assert {row[:2] for row in after["relations"]} == {row[:2] for row in before["relations"]}


def test_uninstall_takes_off_everything_also_where_a_table_is_gone(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
        connection.execute("CREATE TABLE dropped (id int PRIMARY KEY)")
        count = "SELECT (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_trigger)"
        before = connection.execute(count.encode()).fetchone()
        for table in ("t", "dropped", "profile"):
            install(empty_database, table)
        connection.execute("DROP TABLE dropped")
        uninstall(empty_database)
        assert connection.execute(count.encode()).fetchone() == before
        connection.execute("INSERT INTO t VALUES (1)")


def test_install_and_the_articles_trigger_replace_each_other(empty_database: str) -> None:
    on_profile = (
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'public.profile'::regclass ORDER BY 1"
    )
    with psycopg.connect(empty_database, autocommit=True) as connection:
        for _ in range(2):
            install_article(empty_database)
            assert connection.execute(on_profile).fetchall() == [("notify_profile",)]
            install(empty_database)
            assert connection.execute(on_profile).fetchall() == [
                ("reactive_capture",),
                ("reactive_capture_truncate",),
            ]
        uninstall(empty_database)
        assert connection.execute(on_profile).fetchall() == []
