"""A row that PostgreSQL cannot show goes into quarantine, and everything else goes on."""

from collections.abc import Callable

import psycopg
import pytest
import redis

from reactive_demo import Cache, Listener, ReadThrough
from reactive_demo.options import Options
from reactive_demo.tools.audit import audit, command
from tools.agreement import cached
from tools.durable import BOTH, Durable, change_table_only
from tools.waiting import until

SOME, MANY = 40, 2 * Options().batch_rows + 1

Listen = Callable[..., Listener]


@pytest.fixture(params=BOTH)
def durable(request: pytest.FixtureRequest) -> Durable:
    return request.param


@pytest.fixture
def shares(connection: psycopg.Connection, database: str, cache: Cache, durable: Durable) -> Cache:
    """The cache of a captured table, a row of which cannot be shown where `n` is 0."""
    connection.execute(
        "CREATE TABLE share (id text PRIMARY KEY, n int,"
        " per_head int GENERATED ALWAYS AS (100 / n))"
    )
    durable.install(database, "share")
    return Cache(cache.redis_url, "share")


def write(connection: psycopg.Connection, count: int, n: int, but: int | None = None) -> None:
    """All in one statement; the 17th row has `but` for `n`."""
    connection.execute(
        "INSERT INTO share SELECT i, CASE WHEN i = 17 THEN %s ELSE %s END"
        " FROM generate_series(1, %s) i ON CONFLICT (id) DO UPDATE SET n = excluded.n",
        [n if but is None else but, n, count],
    )


def heads(cache: Cache) -> dict[str, int]:
    return {key: row["per_head"] for key, row in cached(cache).items()}


def expected(count: int, per_head: int, **others: int) -> dict[str, int]:
    return {str(n): per_head for n in range(1, count + 1)} | others


@pytest.mark.parametrize("count", [SOME, MANY], ids=["a few changes", "more than one batch"])
def test_one_row_that_cannot_be_shown_does_not_stop_the_others(
    database: str, connection: psycopg.Connection, shares: Cache, listen: Listen, count: int
) -> None:
    write(connection, count, 1)
    listener = listen(database, shares)
    until("all are there", lambda: heads(shares) == expected(count, 100))
    write(connection, count, 2, but=0)
    # The one that cannot be shown stays as it was.
    until("others follow", lambda: heads(shares) == expected(count, 50) | {"17": 100})
    until("it is in quarantine", lambda: dict(listener.quarantine) == {"17": "division by zero"})
    assert listener.stats.quarantined == 1
    write(connection, 20, 4)
    until("it follows", lambda: heads(shares) == expected(count, 50) | expected(20, 25))
    assert not listener.quarantine
    assert listener.stats.reconnects == 0


@pytest.mark.parametrize("count", [SOME, MANY], ids=["one page", "several pages"])
def test_a_cache_is_filled_with_all_rows_that_can_be_shown(
    database: str, connection: psycopg.Connection, shares: Cache, listen: Listen, count: int
) -> None:
    write(connection, count, 2, but=0)
    listener = listen(database, shares)
    shown = expected(count, 50)
    del shown["17"]
    assert heads(shares) == shown
    assert dict(listener.quarantine) == {"17": "division by zero"}
    connection.execute("DELETE FROM share WHERE n = 0")
    until("it is in quarantine no more", lambda: not listener.quarantine)
    assert heads(shares) == shown


def test_a_row_too_large_for_json_goes_into_quarantine(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen, durable: Durable
) -> None:
    connection.execute(
        "CREATE TABLE note (id int PRIMARY KEY,"
        " body text GENERATED ALWAYS AS (repeat('ab', id * 1000000000)))"
    )
    durable.install(database, "note")
    notes = Cache(cache.redis_url, "note")
    listener = listen(database, notes)
    connection.execute("INSERT INTO note VALUES (0), (1)")
    until("the small one is there", lambda: notes.get("0") == {"id": 0, "body": ""})
    until("the large one is in quarantine", lambda: list(listener.quarantine) == ["1"])


def test_keys_from_before_a_change_of_type_are_gone(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen, durable: Durable
) -> None:
    connection.execute("CREATE TABLE part (id text PRIMARY KEY)")
    connection.execute("INSERT INTO part VALUES ('a1'), ('2')")
    durable.install(database, "part")
    parts = Cache(cache.redis_url, "part")
    with_letters = listen(database, parts)
    until("both are there", lambda: set(cached(parts)) == {"a1", "2"})
    with_letters.stop()
    connection.execute("DELETE FROM part WHERE id = 'a1'")
    connection.execute("ALTER TABLE part ALTER id TYPE int USING id::int")
    connection.execute("INSERT INTO part VALUES (3)")
    listener = listen(database, parts)
    until("only numbers are left", lambda: set(cached(parts)) == {"2", "3"})
    assert not listener.quarantine


@change_table_only
def test_a_reader_through_the_cache_is_told_why(
    database: str,
    connection: psycopg.Connection,
    shares: Cache,
    client: redis.Redis,
    listen: Listen,
) -> None:
    write(connection, 20, 2, but=0)
    listen(database, shares)
    with ReadThrough(database, shares) as through:
        with pytest.raises(psycopg.errors.DivisionByZero):
            through.get("17")
        client.delete("share:18")
        assert through.get("18") == {"id": "18", "n": 2, "per_head": 50}
        connection.execute("UPDATE share SET n = 4 WHERE id = '17'")
        until("it can be read", lambda: through.get("17") == {"id": "17", "n": 4, "per_head": 25})


@change_table_only
def test_an_audit_of_it_says_why_it_ends(
    database: str, connection: psycopg.Connection, shares: Cache, listen: Listen
) -> None:
    write(connection, 20, 2, but=0)
    listen(database, shares)
    with pytest.raises(psycopg.errors.DivisionByZero) as raised:
        audit(database, shares)
    assert "PostgreSQL cannot show a row (division by zero)" in command.reason(raised.value)


def test_wide_rows_are_read_fewer_at_a_time(
    database: str, connection: psycopg.Connection, durable: Durable
) -> None:
    connection.execute("CREATE TABLE page (id int PRIMARY KEY, body text)")
    connection.execute(
        "INSERT INTO page SELECT n, repeat('x', 10000) FROM generate_series(1, 600) n"
    )
    durable.install(database, "page")
    options = Options(page_bytes=100_000)
    with durable.follow(database, "page", options=options).open() as session:
        pages = [len(page) for page in session._rows.pages()]
    assert (sum(pages), pages[0], max(pages[1:])) == (600, options.batch_rows, 9)
