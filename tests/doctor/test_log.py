"""What the doctor says of PostgreSQL's log: who may read it, and what it retains."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from reactive_demo import Cache, Listener, LogFeed, install, uninstall
from reactive_demo.tools.doctor import Line, State, database
from reactive_demo.tools.doctor.log import Log
from tools.servers import PostgresServer
from tools.waiting import until

WELL = Log("logical", 1, 10, 1, 10, 10**9, ["public.profile"])


@pytest.fixture
def database_url(empty_database: str) -> Iterator[str]:
    install(empty_database, feed="log")
    yield empty_database
    uninstall(empty_database)


def found(url: str, *subjects: str) -> list[Line]:
    lines = database.examine(url, "your own", "here")
    return [line for line in lines if line.subject in subjects]


def test_each_slot_is_named_with_what_it_retains(database_url: str, cache: Cache) -> None:
    with Listener(LogFeed(database_url), cache) as listener:
        listener.wait_until("live")
        (line,) = found(database_url, "slot")
        assert line.state is State.OK
        assert line.words.startswith("of public.profile: reactive_")
        assert line.words.endswith(" of log, and a listener reads it")
    until("it is free", lambda: found(database_url, "slot")[0].state is State.WARNING)
    assert "nobody reads it: start a listener, or drop it" in found(database_url, "slot")[0].words
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT reactive.unpublish('public.profile')")
    (line,) = found(database_url, "slot")
    assert "of a table that is not published any more" in line.words


def test_the_right_to_read_the_log_is_asked_for(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE rd_log_weak LOGIN")
        try:
            connection.execute("GRANT USAGE ON SCHEMA reactive TO rd_log_weak")
            connection.execute("GRANT SELECT ON profile TO rd_log_weak")
            weak = database_url.replace("//reactive_demo@", "//rd_log_weak@")
            log, rights = sorted(found(weak, "log", "rights"), key=lambda line: line.subject)
            assert log.words == (
                "this account may not read the log: ALTER ROLE rd_log_weak REPLICATION."
            )
            assert rights.words.endswith("GRANT SELECT ON reactive.published.")
        finally:
            connection.execute("DROP OWNED BY rd_log_weak")
            connection.execute("DROP ROLE rd_log_weak")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (WELL._replace(level="replica"), "set wal_level = logical and restart"),
        (WELL._replace(slots=10), "all 10 slots are in use"),
        (WELL._replace(senders=10), "all 10 senders are in use"),
        (WELL._replace(limit=-1), "set max_slot_wal_keep_size"),
        (WELL, "1 of 10 slots and 1 of 10 senders are in use; a slot may retain 1.0 GB"),
    ],
)
def test_what_the_server_must_have(log: Log, words: str) -> None:
    (line,) = log.lines("")
    assert words in line.words
    assert (line.state is State.OK) == (log == WELL)
    assert [line.state for line in log._replace(tables=[]).lines("")] == [State.OK]


def test_a_slot_that_was_lost(folder: Path, cache: Cache) -> None:
    server = PostgresServer(folder, "max_slot_wal_keep_size=1MB")
    server.start()
    try:
        install(server.url, feed="log")
        with Listener(LogFeed(server.url), cache) as listener:
            listener.wait_until("live")
        until("the slot is free", lambda: "nobody reads it" in found(server.url, "slot")[0].words)
        with psycopg.connect(server.url, autocommit=True) as connection:
            for _ in range(3):
                connection.execute("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")
            connection.execute("CHECKPOINT")
        until("it is lost", lambda: " is lost: start a" in found(server.url, "slot")[0].words)
    finally:
        server.stop()
