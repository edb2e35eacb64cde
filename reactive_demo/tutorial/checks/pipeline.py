"""The path of a change through the pipeline, hop by hop.

1. A write reaches the database. 2. The database announces it. 3. The listener hears it and writes
the cache. 4. The screen follows.

The counters in a check's arguments, as in `likes=2`, are minimums: a reader who runs a cell twice,
or clicks, has more.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from psycopg import sql

from reactive_demo.app.profiles import Profiles
from reactive_demo.errors import first_line
from reactive_demo.listener.listener import Listener
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.screen.label import ABSENT
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until_right
from reactive_demo.tutorial.widgets import ProfileCard

__all__ = [
    "ARTICLE",
    "ask",
    "asking",
    "cache_follows",
    "cache_of",
    "card_shows",
    "has_healed",
    "is_captured",
    "is_published",
    "missing",
    "missing_write",
    "schema_qualified",
]

ARTICLE, CAPTURE = "notify_profile", "reactive_capture"
"""The triggers that announce a change: the article's, and that of capture."""

Row = dict[str, Any] | None


def cache_follows(
    profiles: Profiles, cache: Cache, username: str, timeout: float = 5, **at_least: int
) -> Verdict:
    """Check that the write is in the database, and that the cached row equals it."""

    def broken_hop() -> str:
        row = profiles.get(username)
        if complaint := missing_write(username, row, at_least):
            return complaint
        cached = cache.get(username)
        return "" if row == cached else _explain(profiles.database_url, username, row, cached)

    until_right(broken_hop, timeout)
    return Verdict(f"the database and the cache agree about {username}")


def card_shows(
    profiles: Profiles, card: ProfileCard, timeout: float = 5, **at_least: int
) -> Verdict:
    """Check that every number on the card is the database's."""
    cache_follows(profiles, card.cache, card.username, timeout, **at_least)

    def stale() -> str:
        row = profiles.get(card.username) or {}
        numbers = [
            f"{label.value} {counter} instead of {wanted}"
            for counter, label in card.labels.items()
            if label.value != (wanted := str(row.get(f"{counter}_count", ABSENT)))
        ]
        if not numbers:
            return ""
        return (
            f"Hop 4, the cache follows, and the card does not. It shows {', '.join(numbers)}: was "
            "it closed? Run its cell again."
        )

    until_right(stale, timeout)
    return Verdict(f"the card shows what the database holds about {card.username}")


def has_healed(
    listener: Listener,
    profiles: Profiles,
    username: str,
    timeout: float = 10,
    *,
    reconnects: int = 0,
    **at_least: int,
) -> Verdict:
    """Check that the listener reconnected at least so often, and database and cache agree."""

    def unhealed() -> str:
        row = profiles.get(username)
        if complaint := missing_write(username, row, at_least):
            return complaint
        if listener.stats.reconnects < reconnects:
            return (
                f"The listener, {listener.status_text}, has come back {listener.stats.reconnects} "
                f"times, and should have {reconnects} times: run the cells above that do harm. If "
                "another notebook's listener leads, start this one again."
            )
        if (cached := cache_of(listener).get(username)) != row:
            return (
                f"The database has {row}, the cache {cached}; the listener is "
                f"{listener.status_text}. Is its feed the one that this section installs, and does "
                "no other notebook's listener lead? Run the cell that starts it again."
            )
        return ""

    until_right(unhealed, timeout)
    return Verdict(f"the database and the cache agree about {username} again")


def cache_of(listener: Listener) -> Cache:
    """Return what this chapter's listeners feed, which might be a broker too."""
    return cast("Cache", listener.cache)


def missing_write(username: str, row: Row, at_least: dict[str, int]) -> str:
    """Return a complaint about the first counter of the row that is below its minimum."""
    for counter, count in at_least.items():
        if (has := (row or {}).get(f"{counter}_count", 0)) < count:
            return (
                f"Hop 1, the write: {username} has {has} {counter} in the database, and this step "
                f"makes it {count}. Run its cells, in order."
            )
    return ""


def _explain(database_url: str, username: str, row: Row, cached: Row) -> str:
    """Return why the cache may differ from the database: the first hop that is broken."""
    if row is None:
        return f"The cache still holds {username}, and the database does not: {cached}."
    captured, published = not missing(database_url, CAPTURE), is_published(database_url)
    if not (captured or published) and (lacking := missing(database_url, ARTICLE)):
        return (
            f"Hop 2, the database announces nothing: it has no {lacking[0]}. Run the cell with "
            "`set_stage`."
        )
    if not _is_listening(database_url):
        return (
            f"Hop 3, nobody carries the change: the database has {row}, the cache {cached}, and no "
            "listener is connected. Is it started, and what does `listener.check()` say? By hand: "
            "run the cell with your loop."
        )
    if captured or published:
        done, feed = ("captured", "ChangeTableFeed") if captured else ("published", "LogFeed")
        return (
            f"Hop 3, the cache is behind: the database has {row}, the cache {cached}. The table is "
            f"{done}, so only a listener with a {feed} hears of its changes. If another notebook's "
            "cell did that, run this one again from its first cell."
        )
    return (
        f"Hop 3, the cache is behind: the database has {row}, the cache {cached}. What do "
        "`listener.state` and `listener.stats` say? A change made before the listener was live is "
        "lost to it: change the profile again."
    )


def missing(database_url: str, trigger: str) -> list[str]:
    """Return which of table, function and trigger the database lacks."""
    wanted = {
        "table profile": "to_regclass('public.profile')",
        "function reactive.increment": "to_regproc('reactive.increment')",
        f"trigger {trigger}": (
            "(SELECT oid FROM pg_trigger WHERE tgname = {} AND tgenabled <> 'D'"
            " AND tgrelid = to_regclass('public.profile'))"
        ),
    }
    query = sql.SQL(f"SELECT {', '.join(wanted.values())}").format(trigger)
    (found,) = ask(database_url, query)
    return [name for name, oid in zip(wanted, found, strict=True) if oid is None]


def _is_listening(database_url: str) -> bool:
    query = sql.SQL(
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE '%reactive_demo listen%'"
    )
    return bool(ask(database_url, query))


def is_captured(database_url: str, table: str = "profile") -> Verdict:
    """Check that `table` is captured, and has no trigger of the article's."""
    query = sql.SQL("SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass({})").format(
        schema_qualified(table)
    )
    triggers = {name for (name,) in ask(database_url, query)}
    if CAPTURE not in triggers:
        raise CheckFailed(f"The table {table} is not captured: run the cell that captures it.")
    if ARTICLE in triggers:
        raise CheckFailed(
            "The article's trigger is there too: run the cell that captures the table again."
        )
    return Verdict(f"the changes of {table} go into the change table")


def is_published(database_url: str, table: str = "profile") -> bool:
    """Return whether the changes of `table` are published in the log."""
    query = sql.SQL(
        "SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid"
        " WHERE r.prrelid = to_regclass({}) AND starts_with(p.pubname::text, 'reactive_')"
    ).format(f"public.{table}")
    return bool(ask(database_url, query))


def schema_qualified(table: str) -> str:
    """Return the name of a table with its schema, which is public if none is named."""
    return table if re.match(r'(\w+|"[^"]+")\.', table) else f"public.{table}"


def ask(database_url: str, query: sql.SQL | sql.Composed) -> list[Any]:
    """Run a check's query; a query that PostgreSQL refuses is a failed check."""
    with asking(database_url) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def asking(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Connect; what PostgreSQL refuses is a failed check."""
    try:
        with open_postgres(database_url, "check") as connection:
            yield connection
    except psycopg.Error as error:
        raise CheckFailed(
            f"The database refuses ({first_line(error)}): run the cells of this section again, "
            "from its title."
        ) from None
