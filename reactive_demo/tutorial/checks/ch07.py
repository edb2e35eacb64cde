"""Checks of chapter 07: what was lost, and what came back."""

from collections.abc import Collection
from typing import Any

from psycopg import sql

from reactive_demo.app.profiles import Profiles
from reactive_demo.changes import State
from reactive_demo.exact_json import parse_row
from reactive_demo.listener.listener import Listener
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.servers import Stack
from reactive_demo.tutorial.checks.pipeline import (
    ask,
    cache_follows,
    cache_of,
    card_shows,
    has_healed,
    is_captured,
    schema_qualified,
)
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until, until_right

__all__ = [
    "cache_follows",
    "card_shows",
    "change_is_lost",
    "has_healed",
    "is_captured",
    "nothing_is_missed",
    "row_is_missed",
    "table_is_followed",
    "until",
    "write_is_recorded",
]

MANY = 1_000
"""Rows that are compared, of a table that may be the reader's own."""


def change_is_lost(listener: Listener, profiles: Profiles, username: str) -> Verdict:
    """Check that the cache differs from the database although the listener is live."""
    row, cached = profiles.get(username), cache_of(listener).get(username)
    if row == cached:
        raise CheckFailed(
            f"Nothing is lost: database and cache agree about {username}. Stop the listener and "
            "change the profile in one cell: where `reactive-demo listen` runs, its listener takes "
            "over within a second."
        )
    if listener.state is not State.LIVE:
        raise CheckFailed(
            f"The listener is {listener.status_text}: run the cell that starts it again."
        )
    return Verdict(f"the listener is live, and the cache is wrong about {username}")


def row_is_missed(database_url: str, table: str, seen: Collection[int]) -> Verdict:
    """Check that a number of `table` is below the last one seen, and was never seen."""
    if not (missed := sorted(_numbers(database_url, table) - set(seen))):
        raise CheckFailed(
            f"Nothing is missed: the reader has seen every number of {table}. Let the slow "
            "transaction commit last, and read before and after it."
        )
    if missed[0] > max(seen, default=0):
        raise CheckFailed(f"Number {missed[0]} is new: read once more, and the reader has it.")
    return Verdict(f"number {missed[0]} is in the table, and this reader will never see it")


def nothing_is_missed(database_url: str, table: str, seen: Collection[int]) -> Verdict:
    """Check that every number of `table` was seen, each of them once."""
    numbers = _numbers(database_url, table)
    if missed := sorted(numbers - set(seen)):
        raise CheckFailed(f"Number {missed[0]} of {table} was not seen: commit, then read again.")
    if len(seen) != len(set(seen)):
        raise CheckFailed(f"A number was seen twice: {sorted(seen)}. Begin the race once more.")
    return Verdict(f"all {len(numbers)} rows were seen, each of them once")


def write_is_recorded(database_url: str, username: str) -> Verdict:
    """Check that the newest entry of the profile is by the transaction that wrote its row."""
    query = sql.SQL(
        "SELECT p.xmin = (SELECT c.xid::xid FROM reactive.change c"
        " WHERE c.table_name = 'public.profile' AND c.key = p.username"
        " ORDER BY c.version DESC LIMIT 1) FROM public.profile p WHERE p.username = {}"
    ).format(username)
    if not (found := ask(database_url, query)):
        raise CheckFailed(f"There is no {username}: run the cell that signs {username} up.")
    if found != [(True,)]:
        raise CheckFailed(
            f"The change table has no entry about the row of {username}: run the cell that "
            "captures the table, and then the one above again."
        )
    return Verdict(f"{username} is in the table, and the change table knows it")


def table_is_followed(
    stack: Stack, table: str, without: str | None = None, timeout: float = 5
) -> Verdict:
    """Check that every row of `table` is in the cache of that name, except the column `without`."""
    cache = Cache(stack.redis_url, table)

    def amiss() -> str:
        is_captured(stack.database_url, table)
        rows = _rows(stack.database_url, table)
        for key, row in rows:
            secret = row.pop(without, None) if without else None
            cached = cache.get(key)
            if cached and secret is not None and without in cached:
                return f"The cache shows {without} of {key}: leave it out with `exclude`."
            if cached != row:
                return (
                    f"The database has {row} under the key {key}, and the cache {cached}. Is there "
                    f"a listener with ChangeTableFeed(stack.database_url, {table!r}) and "
                    f"Cache(stack.redis_url, {table!r}), and what does its `.check()` say?"
                )
        return "" if rows else f"The table {table} is empty: run the cell that makes it."

    try:
        until_right(amiss, timeout)
    finally:
        cache.close()
    shown = f"{table}, without {without}," if without else table
    return Verdict(f"each row of {shown} is in the cache")


def _numbers(database_url: str, table: str) -> set[int]:
    found = ask(
        database_url, sql.SQL("SELECT number FROM {}").format(sql.Identifier("public", table))
    )
    return {number for (number,) in found}


def _rows(database_url: str, table: str) -> list[tuple[str, dict[str, Any]]]:
    """Return rows of a captured table, `MANY` at most, each with its key in the cache."""
    ((key, name),) = ask(
        database_url,
        sql.SQL(
            "SELECT reactive.key_expression(relation, 't'), reactive.name_of(relation)"
            " FROM (SELECT {}::regclass AS relation) named"
        ).format(schema_qualified(table)),
    )
    query = sql.SQL("SELECT {}, row_to_json(t)::text FROM {} t LIMIT {}")
    rows = ask(database_url, query.format(sql.SQL(key), sql.SQL(name), MANY))
    return [(key, parse_row(text)) for key, text in rows]
