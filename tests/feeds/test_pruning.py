"""Keys that were deleted long ago are forgotten, and nobody misses that they were deleted."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from reactive_demo import Cache, ChangeTableFeed, Listener
from reactive_demo.errors import NotCapturedError
from reactive_demo.listener.leadership import Leadership
from reactive_demo.options import Options
from reactive_demo.waiting import StopEvent
from tools.agreement import agree, cached, carry
from tools.waiting import until

Listen = Callable[..., Listener]


def forgetful(database_url: str) -> ChangeTableFeed:
    """A feed that forgets a deleted key at once."""
    return ChangeTableFeed(
        database_url, options=Options(retention=0, prune_interval=0, prune_rows=3)
    )


def noted(connection: psycopg.Connection) -> set[str]:
    return {key for (key,) in connection.execute("SELECT key FROM reactive.change")}


def test_deleted_keys_are_forgotten_and_present_ones_kept(
    database: str, cache: Cache, connection: psycopg.Connection, listen: Listen
) -> None:
    listen(forgetful(database), cache)
    for name in "abcdefgh":
        connection.execute("SELECT reactive.increment(%s, 'likes')", [name])
    connection.execute("DELETE FROM profile WHERE username > 'b'")
    until("the deleted keys are forgotten", lambda: noted(connection) == {"a", "b"})
    connection.execute("SELECT reactive.increment('h', 'likes')")
    agree(database, cache)


def test_a_cache_that_was_away_for_longer_is_filled(
    database: str, cache: Cache, valkey_url: str, connection: psycopg.Connection, listen: Listen
) -> None:
    connection.execute("SELECT reactive.increment(n, 'likes') FROM unnest('{a,b}'::text[]) n")
    away = Cache(valkey_url, "away")
    carry(ChangeTableFeed(database), away)
    connection.execute("DELETE FROM profile WHERE username = 'a'")
    listen(forgetful(database), cache)
    until("the deleted key is forgotten", lambda: noted(connection) == {"b"})
    assert set(cached(away)) == {"a", "b"}
    carry(ChangeTableFeed(database), away)
    assert set(cached(away)) == {"b"}
    away.close()


def test_a_session_that_slept_for_longer_ends_and_the_next_one_fills_the_cache(
    database: str, cache: Cache, valkey_url: str, connection: psycopg.Connection, listen: Listen
) -> None:
    connection.execute("SELECT reactive.increment(n, 'likes') FROM unnest('{a,b}'::text[]) n")
    away, feed = Cache(valkey_url, "away"), ChangeTableFeed(database)
    carry(feed, away)
    with feed.open() as session:
        lease = Leadership(feed, away, takeover=False).acquire_lease(session)
        batches = session.batches(lease.cursor, StopEvent())
        assert next(batches).state == "live"
        connection.execute("DELETE FROM profile WHERE username = 'a'")
        listen(forgetful(database), cache)
        until("the deleted key is forgotten", lambda: noted(connection) == {"b"})
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
        assert noted(connection) == {"a", "b"}
    finally:
        connection.execute("DROP OWNED BY reader_only; DROP ROLE reader_only")
