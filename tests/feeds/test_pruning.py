"""The change log stays short, and no reader misses what is removed from it.

What a later change of the same key supersedes goes at once, anything older than the retention in
the end; what a reader has still to read, of either, stays.
"""

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from reactive_demo import Cache, ChangeTableFeed, Listener
from reactive_demo.errors import NotCapturedError
from reactive_demo.feeds.pruning import MOST
from reactive_demo.listener.leadership import Leadership
from reactive_demo.options import Options
from reactive_demo.waiting import StopEvent
from tools.agreement import agree, cached, carry
from tools.databases import backends, terminate
from tools.waiting import until

Listen = Callable[..., Listener]

SOON = Options(heartbeat=0.05, prune_interval=0, prune_rows=3)
"""Prunes at once, a few changes in a step."""

PRUNES = "reactive_demo prune profile"
"""The name of the connection that prunes."""


def superseding(database_url: str) -> ChangeTableFeed:
    """A feed that removes what is superseded, and nothing else."""
    return ChangeTableFeed(database_url, options=SOON)


def forgetful(database_url: str) -> ChangeTableFeed:
    """A feed that forgets every change as soon as it is read."""
    return ChangeTableFeed(database_url, options=replace(SOON, retention=0))


def increment(connection: psycopg.Connection, *names: str) -> None:
    """Change each in a transaction of its own."""
    for name in names:
        connection.execute("SELECT reactive.increment(%s, 'likes')", [name])


def noted(connection: psycopg.Connection) -> list[str]:
    """The keys of the log's entries, in order."""
    found = connection.execute("SELECT key FROM reactive.change ORDER BY version")
    return [key for (key,) in found]


def test_of_each_key_the_last_change_is_kept_and_of_a_deleted_one_too(
    database: str, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    listen(superseding(database), cache)
    increment(connection, *"abcabcabcd")
    connection.execute("DELETE FROM profile WHERE username = 'c'")
    until("the last are left", lambda: noted(connection) == ["a", "b", "d", "c"])
    increment(connection, *"ca")
    until("those are the last now", lambda: noted(connection) == ["b", "d", "c", "a"])
    agree(database, cache)


@pytest.mark.parametrize("count", [5, 400])
def test_a_transaction_of_more_changes_than_a_step_holds_nothing_up(
    database: str, cache: Cache, connection: psycopg.Connection, listen: Listen, count: int
) -> None:
    """One that is too long for any step is passed over: what came before it goes later."""
    listen(superseding(database), cache)
    for _ in range(2):
        with connection.transaction():
            increment(connection, *(f"of many {n}" for n in range(count)))
    increment(connection, *"aaab")
    until("only the last of 'a' is left", lambda: noted(connection).count("a") == 1)
    if count < SOON.prune_rows * MOST:
        until("the same of the many", lambda: len(noted(connection)) == count + 2)
    agree(database, cache)


def test_a_reader_that_was_away_needs_no_more_than_the_last_change_of_a_key(
    database: str, cache: Cache, valkey_url: str, connection: psycopg.Connection, listen: Listen
) -> None:
    increment(connection, *"ab")
    away = Cache(valkey_url, "away")
    carry(ChangeTableFeed(database), away)
    epoch = away._redis.hget(away._feed, "epoch")
    listen(superseding(database), cache)
    increment(connection, *"aaabb")
    connection.execute("DELETE FROM profile WHERE username = 'b'")
    until("the last are left", lambda: noted(connection) == ["a", "b"])
    carry(ChangeTableFeed(database), away)
    assert {key: row["likes_count"] for key, row in cached(away).items()} == {"a": 4}
    assert away._redis.hget(away._feed, "epoch") == epoch, "it went on, and was not filled anew"
    away.close()


@pytest.mark.parametrize("feed", [superseding, forgetful])
def test_nothing_goes_that_committed_after_a_transaction_that_still_runs(
    database: str,
    cache: Cache,
    connection: psycopg.Connection,
    listen: Listen,
    feed: Callable[[str], ChangeTableFeed],
) -> None:
    """Transactions do not end in order: a reader goes by the oldest that it could not see."""
    with psycopg.connect(database) as writer:
        increment(writer, "open")
        listen(feed(database), cache)
        increment(connection, *"aaa", "seen")
        until("they are cached", lambda: cache.get("seen"))
        increment(connection, "seen")
        until("time went by", lambda: cache.get("seen")["likes_count"] == 2)
        assert noted(connection) == [*"aaa", "seen", "seen"]
    left = ["open", "a", "seen"] if feed is superseding else []
    until("now they go", lambda: noted(connection) == left)
    agree(database, cache)


def test_everything_older_than_the_retention_is_forgotten_and_the_cache_goes_on(
    database: str, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    listen(forgetful(database), cache)
    increment(connection, *"abcdefgh")
    connection.execute("DELETE FROM profile WHERE username > 'b'")
    until("all is forgotten", lambda: not noted(connection))
    increment(connection, *"ah")
    agree(database, cache)


def test_a_cache_that_was_away_for_longer_is_filled(
    database: str, cache: Cache, valkey_url: str, connection: psycopg.Connection, listen: Listen
) -> None:
    increment(connection, *"ab")
    away = Cache(valkey_url, "away")
    carry(ChangeTableFeed(database), away)
    connection.execute("DELETE FROM profile WHERE username = 'a'")
    listen(forgetful(database), cache)
    until("all is forgotten", lambda: not noted(connection))
    assert set(cached(away)) == {"a", "b"}
    carry(ChangeTableFeed(database), away)
    assert set(cached(away)) == {"b"}
    away.close()


def test_a_session_that_slept_for_longer_ends_and_the_next_one_fills_the_cache(
    database: str, cache: Cache, valkey_url: str, connection: psycopg.Connection, listen: Listen
) -> None:
    increment(connection, *"ab")
    away, feed = Cache(valkey_url, "away"), ChangeTableFeed(database)
    carry(feed, away)
    with feed.open() as session:
        lease = Leadership(feed, away, takeover=False).acquire_lease(session)
        batches = session.batches(lease.cursor, StopEvent())
        assert next(batches).state == "live"
        connection.execute("DELETE FROM profile WHERE username = 'a'")
        listen(forgetful(database), cache)
        until("all is forgotten", lambda: not noted(connection))
        with pytest.raises(NotCapturedError):
            list(batches)
    carry(feed, away)
    assert set(cached(away)) == {"b"}
    away.close()


def test_an_account_that_may_only_read_forgets_nothing_and_goes_on(
    database: str, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    for statement in (
        "DO $$ BEGIN CREATE ROLE reader_only; EXCEPTION WHEN duplicate_object THEN END $$",
        "GRANT USAGE ON SCHEMA reactive TO reader_only",
        "GRANT SELECT ON ALL TABLES IN SCHEMA reactive TO reader_only",
        "GRANT SELECT ON profile TO reader_only",
        "SELECT reactive.increment('a', 'likes')",
        "DELETE FROM profile",
    ):
        connection.execute(statement.encode())
    try:
        listen(forgetful(make_conninfo(database, options="-c role=reader_only")), cache)
        connection.execute("SELECT reactive.increment('b', 'likes')")
        agree(database, cache)
        assert noted(connection) == ["a", "a", "b"]
    finally:
        connection.execute("DROP OWNED BY reader_only; DROP ROLE reader_only")


def test_reading_goes_on_while_pruning_waits_and_nothing_is_left_of_it_at_the_end(
    database: str, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    def waits() -> bool:
        blocked = "SELECT pg_blocking_pids(pid) <> '{}' FROM unnest(%s::int[]) p (pid)"
        found = connection.execute(blocked, [backends(connection, PRUNES)]).fetchall()
        return found == [(True,)]

    increment(connection, *"aa")
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM reactive.change FOR UPDATE")
        listener = listen(superseding(database), cache)
        until("pruning waits", waits)
        increment(connection, "b")
        agree(database, cache)
        assert waits()
        listener.stop()
        until("no connection is left", lambda: not backends(connection, "reactive_demo"))
    assert noted(connection) == [*"aab"]
    assert listener.stats.reconnects == 0


def test_the_connection_that_prunes_may_be_lost_and_the_session_stays(
    database: str, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    listener = listen(superseding(database), cache)
    for _ in range(3):
        until("it is there", lambda: backends(connection, PRUNES))
        terminate(connection, PRUNES)
    increment(connection, *"aaab")
    until("the last are left", lambda: noted(connection) == ["a", "b"])
    assert listener.stats.reconnects == 0


def test_an_account_that_may_connect_but_once_follows_without_pruning(
    database: str, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    for statement in (
        "CREATE ROLE frugal LOGIN CONNECTION LIMIT 1",
        "GRANT USAGE ON SCHEMA reactive TO frugal",
        "GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reactive TO frugal",
        "GRANT SELECT ON profile TO frugal",
    ):
        connection.execute(statement.encode())
    try:
        listener = listen(superseding(make_conninfo(database, user="frugal")), cache)
        increment(connection, *"aab")
        agree(database, cache)
        assert noted(connection) == [*"aab"]
        connection.execute("ALTER ROLE frugal CONNECTION LIMIT 2")
        until("there is room for another connection", lambda: noted(connection) == ["a", "b"])
        assert listener.stats.reconnects == 0
        listener.stop()
    finally:
        connection.execute("DROP OWNED BY frugal; DROP ROLE frugal")


def test_pruning_keeps_to_the_server_and_the_table_of_its_session(
    database: str, connection: psycopg.Connection
) -> None:
    with ChangeTableFeed(database).open() as session:
        with session._connect_to_prune() as there:
            assert there.one("now")
        connection.execute("ALTER TABLE profile ADD COLUMN another int")
        with pytest.raises(NotCapturedError), session._connect_to_prune():
            pass
    until("no connection is left", lambda: not backends(connection, "reactive_demo"))
