"""The audit of a table whose changes are read in the log."""

from collections.abc import Iterator

import psycopg
import pytest
import redis

from reactive_demo import Cache, Listener, LogFeed, install, uninstall
from reactive_demo.changes import Change
from reactive_demo.errors import ConfigurationError
from reactive_demo.options import Options
from reactive_demo.tools.audit import Kind, audit, repair

SOON = (0.1,)
QUICK = Options(heartbeat=0.5)  # less, and a busy machine would lose the session in between


@pytest.fixture
def database(empty_database: str) -> Iterator[str]:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE profile (username text PRIMARY KEY, likes_count bigint DEFAULT 0,"
            " hash text DEFAULT 'secret')"
        )
        connection.execute("INSERT INTO profile SELECT 'user ' || n FROM generate_series(1, 5) n")
    install(empty_database, "public.profile", feed="log", exclude=["hash"])
    yield empty_database
    uninstall(empty_database)


@pytest.fixture
def listener(database: str, cache: Cache) -> Iterator[Listener]:
    with Listener(LogFeed(database, options=QUICK), cache) as listener:
        listener.wait_until("live")
        yield listener


@pytest.mark.usefixtures("listener")
def test_it_finds_and_repairs_every_kind_of_difference(
    database: str, cache: Cache, client: redis.Redis
) -> None:
    report = audit(database, cache)
    assert report.agrees
    (slot,) = report.slots
    assert slot.active
    assert f"The slot {slot.name} retains " in report.text()

    client.hset("profile:user 1", "row", '{"username": "user 1", "likes_count": 7}')
    client.delete("profile:user 2")
    client.hset("profile:user 3", "row", "no row")
    cache.put([Change("nobody", {"username": "nobody"})])
    report = audit(database, cache, again=SOON)
    assert {one.key: one.kind for one in report.wrong} == {
        "user 1": Kind.CONTENT,
        "user 2": Kind.MISSING,
        "user 3": Kind.UNREADABLE,
        "nobody": Kind.EXTRA,
    }
    report = repair(database, cache, report)
    assert (report.agrees, report.repaired) == (True, 4)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE profile SET likes_count = 9")
        connection.execute("INSERT INTO profile VALUES ('nobody')")
    report = audit(database, cache)
    assert (report.agrees, report.rows) == (True, 6)


@pytest.mark.usefixtures("listener")
def test_what_is_on_its_way_is_not_wrong(database: str, cache: Cache) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for n in range(30):
            connection.execute("UPDATE profile SET likes_count = likes_count + 1")
            assert audit(database, cache, again=(0.0,)).agrees, n


def test_without_a_listener_what_changes_is_wrong_and_can_be_repaired(
    database: str, cache: Cache
) -> None:
    with Listener(LogFeed(database, options=QUICK), cache) as listener:
        listener.wait_until("live")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE profile SET likes_count = 9")
    report = audit(database, cache, again=SOON)
    assert len(report.wrong) == 5
    assert "nobody reads it" in report.text()
    assert repair(database, cache, report).agrees


def test_a_table_that_is_installed_for_both_feeds(database: str, cache: Cache) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT reactive.capture('public.profile')")
    with pytest.raises(ConfigurationError, match="both feeds, change table and log: name one"):
        audit(database, cache)
    assert not audit(database, cache, feed="log", again=()).agrees
