"""Checks of chapter 11: a table is followed as it should be, and afterwards nothing is left."""

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.app.transaction import Transaction
from reactive_demo.capture.install import install
from reactive_demo.errors import first_line
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.screen.grid import RowGrid
from reactive_demo.servers import Stack
from reactive_demo.tools.doctor import State, examine_table
from reactive_demo.tools.services import cache_keys
from reactive_demo.tutorial.checks.ch07 import table_is_followed
from reactive_demo.tutorial.checks.pipeline import ask, schema_qualified
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until, until_right
from reactive_demo.tutorial.own_table import OwnTable

__all__ = [
    "can_be_followed",
    "grid_agrees",
    "is_served_without",
    "nothing_is_left",
    "orders_are_documents",
    "parcels_are_served",
    "table_is_followed",
    "until",
]

ORDERS, PARCELS = "shop.orders", "shop.parcel"

INSERT = (
    b"INSERT INTO shop.order_item SELECT id, %s, 'a check', 1 FROM shop.orders ORDER BY id LIMIT 1"
)
CHANGES = (
    b"UPDATE shop.order_item SET price = 2 WHERE line > 1000",
    b"DELETE FROM shop.order_item WHERE line > 1000",
)
"""What the check does to items; those of the reader have smaller numbers."""


def can_be_followed(stack: Stack, *tables: str) -> Verdict:
    """Check that nothing would hinder following these tables."""
    for table in tables:
        for line in examine_table(stack.database_url, table).lines:
            if line.state is State.MEND:
                raise CheckFailed(f"{table} cannot be followed yet: {line.words}")
    return Verdict(f"nothing hinders following {' and '.join(tables)}")


def grid_agrees(grid: RowGrid) -> Verdict:
    """Check that the grid shows what the cache holds, and that this is something."""

    def amiss() -> str:
        cached = grid.cache.get_many([*grid.cache.scan()])
        held = {key: row for key, row in cached.items() if row is not None}
        if not held:
            return "The cache holds no rows: is the table captured, and the listener live?"
        shown = grid.rows
        if len(shown) < min(len(held), grid.limit) or any(
            held.get(key) != row for key, row in shown.items()
        ):
            return f"The cache holds {len(held)} rows, and the grid shows others: make it again."
        return ""

    until_right(amiss)
    return Verdict(f"the grid shows what the cache of {grid.cache.table} holds")


def is_served_without(listener: Listener, service: Any, mine: OwnTable) -> Verdict:
    """Check that a change arrives although this notebook's listener is stopped."""
    if not isinstance(service, subprocess.Popen) or service.poll() is not None:
        raise CheckFailed("The process does not run: run the cell that starts it.")
    if listener.state != "stopped":
        raise CheckFailed(f"This notebook's listener is {listener.status_text}: stop it first.")
    with psycopg.connect(mine.stack.database_url, autocommit=True) as connection:
        with Transaction(connection, mine.name) as written:
            key = connection.execute(mine.change.encode()).fetchone()
        if key is None:
            raise CheckFailed(f"{mine.name} is empty: run the cells above, from the first.")
    cache = Cache(mine.stack.redis_url, mine.name)
    try:
        cache.wait_for(key, written.version(key), timeout=15)
    except TimeoutError as error:
        raise CheckFailed(f"{error} Start the process again.") from None
    finally:
        cache.close()
    return Verdict("the process carries the changes, and this notebook does not")


def orders_are_documents(stack: Stack) -> Verdict:
    """Check that each cached order has its items, whatever happens to them, and at once.

    It adds items to one order in two transactions that overlap, changes one and removes both.
    """
    install(stack.database_url, ORDERS)  # no harm if it is
    cache = Cache(stack.redis_url, ORDERS)
    with Listener(ChangeTableFeed(stack.database_url, ORDERS), cache) as listener:
        until("a listener leads", lambda: listener.state in {"live", "standby"}, timeout=10)
        try:
            _disturb_items(stack.database_url, lambda: _compare_documents(stack, cache))
        except psycopg.Error as error:
            raise CheckFailed(
                f"The database refuses a change of the items ({first_line(error)}): does the "
                "trigger lock the order with FOR NO KEY UPDATE, before it reads the items?"
            ) from None
    cache.close()
    return Verdict("each cached order has its items, even if two transactions add some at once")


def _disturb_items(database_url: str, compare: Callable[[], None]) -> None:
    """Change items in every way, and call `compare` after each."""
    compare()
    with (
        psycopg.connect(database_url) as one,
        psycopg.connect(database_url, autocommit=True) as two,
        ThreadPoolExecutor(1) as thread,
    ):
        two.execute("SET statement_timeout = '5s'")
        one.execute(INSERT, [1001])
        second = thread.submit(two.execute, INSERT, [1002])
        waits = "SELECT pg_blocking_pids(%s) <> '{}'"
        pid = two.info.backend_pid
        until(
            "the second transaction waits for the first, or is done",
            lambda: second.done() or one.execute(waits, [pid]).fetchone() == (True,),
        )
        one.commit()
        second.result()
        compare()
        for change in CHANGES:
            one.execute(change)
            one.commit()
            compare()


def _compare_documents(stack: Stack, cache: Cache) -> None:
    query = sql.SQL(
        "SELECT o.id::text, ARRAY(SELECT i.line FROM shop.order_item i WHERE i.order_id = o.id"
        " ORDER BY i.line), ARRAY(SELECT i.price::float FROM shop.order_item i"
        " WHERE i.order_id = o.id ORDER BY i.line) FROM shop.orders o"
    )

    def amiss() -> str:
        for key, lines, prices in ask(stack.database_url, query):
            items = (cache.get(key) or {}).get("items")
            if not isinstance(items, list):
                return f"The cached order {key} has no list of `items`."
            try:
                found = sorted((item["line"], float(item["price"])) for item in items)
            except (KeyError, TypeError, ValueError):
                return f"An item has no line or price, or a wrong one: {items}"
            if found != (wanted := list(zip(lines, prices, strict=True))):
                return f"The order {key} has the items {wanted}, and its document {found}."
        return ""

    until_right(amiss)


def parcels_are_served(stack: Stack, seen: Any) -> Verdict:
    """Check that the parcels are followed without their PIN, and `seen` is the delivered one."""
    table_is_followed(stack, PARCELS, without="pin")
    if not isinstance(seen, dict) or seen.get("state") != "delivered":
        raise CheckFailed(
            f"`seen` is {seen!r}: change the parcel, wait until the cache has that change, and "
            "then read the row from the cache."
        )
    (stored,) = ask(
        stack.database_url,
        sql.SQL("SELECT carrier, number, state::text FROM shop.parcel WHERE state = 'delivered'"),
    ) or [None]
    if stored != (seen.get("carrier"), seen.get("number"), "delivered"):
        raise CheckFailed(f"The database has {stored} as the parcel that was delivered.")
    return Verdict("the parcels are followed without their PIN, and you read your own write")


def nothing_is_left(stack: Stack, *tables: str) -> Verdict:
    """Check that neither server holds anything of ours about these tables."""
    for table in tables:
        name = schema_qualified(table)
        traces = sql.SQL(
            "SELECT 'the trigger ' || tgname FROM pg_trigger WHERE tgrelid = to_regclass({0})"
            " AND tgname LIKE 'reactive%' UNION ALL SELECT 'the publication ' || p.pubname"
            " FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid"
            " WHERE r.prrelid = to_regclass({0}) AND p.pubname LIKE 'reactive%'"
        ).format(name)
        for (trace,) in ask(stack.database_url, traces):
            raise CheckFailed(f"{table} still has {trace}: run `uninstall` for it.")
        if keys := cache_keys(stack.redis_url, table):
            raise CheckFailed(
                f"Redis still holds {len(keys)} keys of {table}, {keys[0]} for instance: is a "
                "listener still running? Stop it, then run `uninstall` with `--cache`."
            )
    with open_postgres(stack.database_url, "check") as connection:
        busy = connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE application_name = ANY (%s)",
            [[f"reactive_demo listen {table}" for table in tables]],
        ).fetchone()
    if busy:
        raise CheckFailed(f"`{busy[0]}` is still connected: stop it.")
    return Verdict(f"nothing is left of {' and '.join(tables)} but the tables")
