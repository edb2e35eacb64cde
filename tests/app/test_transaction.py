"""A transaction of one's own says the versions of what it wrote, whichever feed follows."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from reactive_demo import Cache, Listener, Transaction
from reactive_demo.errors import NotCapturedError, ReactiveDemoError, RefusedError
from tools.durable import BOTH, CHANGE_TABLE, Durable

Listen = Callable[..., Listener]


@pytest.fixture(params=BOTH)
def durable(request: pytest.FixtureRequest) -> Durable:
    return request.param


@pytest.fixture
def items(database: str, connection: psycopg.Connection, durable: Durable) -> str:
    """The database, with two tables that are followed."""
    connection.execute(
        "CREATE TABLE item (order_id int, line int, note text, PRIMARY KEY (order_id, line));"
        'CREATE TABLE "Order" (id int PRIMARY KEY, total int)'
    )
    durable.install(database, "item")
    durable.install(database, '"Order"')
    return database


@pytest.fixture(
    params=[{}, {"autocommit": True}, {"row_factory": dict_row}],
    ids=["plain", "autocommit", "rows are dicts"],
)
def own(items: str, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the application's, however it was made."""
    with psycopg.connect(items, **request.param) as connection:
        yield connection


def test_each_row_can_be_awaited(
    items: str, own: psycopg.Connection[Any], valkey_url: str, listen: Listen
) -> None:
    cache, orders = Cache(valkey_url, "item"), Cache(valkey_url, '"Order"')
    listen(items, cache)
    listen(items, orders)
    for total in (1, 2):
        with Transaction(own, "item", '"Order"') as written:
            own.execute("INSERT INTO item VALUES (7, %s, 'tea')", [total])
            own.execute(
                'INSERT INTO "Order" VALUES (7, %s) ON CONFLICT (id) DO UPDATE SET total = 2',
                [total],
            )
        cache.wait_for((7, total), written.version((7, total), "item"))
        orders.wait_for(7, written.version(7, '"Order"'))
        assert cache.get((7, total)) == {"order_id": 7, "line": total, "note": "tea"}
        assert orders.get(7) == {"id": 7, "total": total}
    with Transaction(own, "item") as written:
        own.execute("DELETE FROM item WHERE line = 1")
    cache.wait_for((7, 1), written.version((7, 1)))
    assert cache.get((7, 1)) is None
    cache.close()
    orders.close()


def test_what_fails_is_rolled_back_and_has_no_versions(own: psycopg.Connection[Any]) -> None:
    written = Transaction(own, "item")
    with pytest.raises(psycopg.errors.DivisionByZero), written:
        own.execute("INSERT INTO item VALUES (1, 1 / 0)")
    with pytest.raises(ReactiveDemoError, match="has not committed"):
        written.version((1, 1))
    with Transaction(own, "item") as written, pytest.raises(ReactiveDemoError, match="not comm"):
        written.version((1, 1))
    assert own.execute("SELECT FROM item").fetchone() is None
    own.commit()
    with (
        pytest.raises(psycopg.errors.NotNullViolation),
        Transaction(own, "item"),
    ):
        own.execute("INSERT INTO item VALUES (1, NULL)")
    with Transaction(own, "item") as written:
        own.execute("INSERT INTO item VALUES (1, 1)")
    assert written.version((1, 1)) > 0


def test_what_is_asked_wrongly_is_said(items: str, durable: Durable) -> None:
    with psycopg.connect(items) as own:
        own.execute("CREATE TABLE stranger (id int PRIMARY KEY)")
        with pytest.raises(ReactiveDemoError, match="is in a transaction, whose end decides"):
            Transaction(own, "item").__enter__()
        own.commit()
        for unknown in ("stranger", "nowhere"):
            with pytest.raises(NotCapturedError, match=f"install --table {unknown}"):
                Transaction(own, unknown).__enter__()
        with Transaction(own, "item", '"Order"') as written:
            own.execute("INSERT INTO item VALUES (1, 1)")
        with pytest.raises(ReactiveDemoError, match="Say which table"):
            written.version((1, 1))
        with pytest.raises(ReactiveDemoError, match="was not told of stranger"):
            written.version(1, "stranger")
        if durable is CHANGE_TABLE:  # of the log, the commit is all that is known
            with pytest.raises(ReactiveDemoError, match="changed no row of item with the key"):
                written.version((1, 2), "item")


def test_an_account_that_may_not_read_versions_is_told_which_right_it_lacks(
    items: str, connection: psycopg.Connection, durable: Durable
) -> None:
    connection.execute("CREATE ROLE writes_only; GRANT INSERT, SELECT ON item TO writes_only")
    with psycopg.connect(items, autocommit=True) as own:
        own.execute("SET ROLE writes_only")
        if durable is CHANGE_TABLE:
            with pytest.raises(RefusedError, match=r"SELECT ON reactive\.change"):
                Transaction(own, "item").__enter__()
        else:  # the log's end is no secret
            with Transaction(own, "item") as written:
                own.execute("INSERT INTO item VALUES (1, 1)")
            assert written.version((1, 1)) > 0
    connection.execute("DROP OWNED BY writes_only; DROP ROLE writes_only")
