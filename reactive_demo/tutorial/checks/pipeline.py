"""The way of a change through the pipeline, hop by hop.

1 a write reaches the database; 2 the database announces it; 3 the listener hears it and writes
the cache; 4 the screen follows. The counters that a check asks for, as in `likes=2`, are the least
that its step brings about: whoever runs a cell twice, or clicks, has more.
"""

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.app.profiles import Profiles
from reactive_demo.errors import first_line
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.screen.label import ABSENT
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until
from reactive_demo.tutorial.widgets import ProfileCard

__all__ = [
    "ARTICLE",
    "ask",
    "cache_follows",
    "card_shows",
    "is_captured",
    "missing",
    "until_or",
]

Row = dict[str, Any] | None


def cache_follows(
    profiles: Profiles, cache: Cache, username: str, timeout: float = 5, **at_least: int
) -> Verdict:
    """The write is in the database, and the cached row equals it; if not, say which hop failed."""

    def follows() -> bool:
        row = profiles.get(username)
        return not _short_of(row, at_least) and row == cache.get(username)

    until_or(follows, timeout, lambda: _broken_hop(profiles, cache, username, at_least))
    return Verdict(f"the database and the cache agree about {username}")


def card_shows(
    profiles: Profiles, card: ProfileCard, timeout: float = 5, **at_least: int
) -> Verdict:
    """Every number on the card is the database's; if not, say which hop failed."""
    cache_follows(profiles, card.cache, card.username, timeout, **at_least)

    def behind() -> list[str]:
        row = profiles.get(card.username) or {}
        return [
            f"{label.value} {counter} instead of {wanted}"
            for counter, label in card.labels.items()
            if label.value != (wanted := str(row.get(f"{counter}_count", ABSENT)))
        ]

    until_or(
        lambda: not behind(),
        timeout,
        lambda: (
            "Hop 4, the cache follows, and the card does not. It shows "
            f"{', '.join(behind())}: was it closed? Run its cell again."
        ),
    )
    return Verdict(f"the card shows what the database holds about {card.username}")


def until_or(condition: Callable[[], bool], timeout: float, reason: Callable[[], str]) -> None:
    """Wait for `condition`; raise the reason if it does not come."""
    try:
        until("", condition, timeout)
    except CheckFailed:
        raise CheckFailed(reason()) from None


def _short_of(row: Row, at_least: dict[str, int]) -> dict[str, int]:
    """The counters of the row that are below what is asked for."""
    have = {name: int((row or {}).get(f"{name}_count", 0)) for name in at_least}
    return {name: count for name, count in have.items() if count < at_least[name]}


def _broken_hop(profiles: Profiles, cache: Cache, username: str, at_least: dict[str, int]) -> str:
    """Follow the change's way, and name the first hop that is broken."""
    row, cached = profiles.get(username), cache.get(username)
    for counter, count in _short_of(row, at_least).items():
        return (
            f"Hop 1, the write: {username} has {count} {counter} in the database, and this step "
            f"makes it {at_least[counter]}. Run its cells, in order."
        )
    if row is None:
        return f"The cache still holds {username}, and the database does not: {cached}."
    captured = not missing(profiles.database_url, CAPTURE)
    if not captured and (lacking := missing(profiles.database_url, ARTICLE)):
        return (
            f"Hop 2, the database announces nothing: it has no {lacking[0]}. Run the cell with "
            "`set_stage`."
        )
    if not _listening(profiles.database_url):
        return (
            f"Hop 3, nobody carries the change: the database has {row}, the cache {cached}, and no "
            "listener is connected. Is it started, and what does `listener.check()` say? By hand: "
            "run the cell with your loop."
        )
    if captured:
        return (
            f"Hop 3, the cache is behind: the database has {row}, the cache {cached}. The table is "
            "captured, so only a listener with a ChangeTableFeed hears of its changes. If that was "
            "done in another notebook, run this one again from its first cell."
        )
    return (
        f"Hop 3, the cache is behind: the database has {row}, the cache {cached}. What do "
        "`listener.state` and `listener.stats` say? A change made before the listener was live is "
        "lost to it: change the profile again."
    )


ARTICLE, CAPTURE = "notify_profile", "reactive_capture"
"""The triggers that tell of a change, the one or the other."""


def missing(database_url: str, trigger: str) -> list[str]:
    """Return what the database lacks of table, function and trigger."""
    wanted = {
        "table profile": "to_regclass('public.profile')",
        "function reactive.increment": "to_regproc('reactive.increment')",
        f"trigger {trigger}": (
            "(SELECT oid FROM pg_trigger WHERE tgname = %s"
            " AND tgrelid = to_regclass('public.profile') AND tgenabled <> 'D')"
        ),
    }
    with psycopg.connect(database_url, autocommit=True) as connection:
        query = f"SELECT {', '.join(wanted.values())}"
        found = connection.execute(query.encode(), [trigger]).fetchone() or ()
    return [name for name, oid in zip(wanted, found, strict=True) if oid is None]


def _listening(database_url: str) -> bool:
    with psycopg.connect(database_url, autocommit=True) as connection:
        return bool(
            connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name LIKE '%reactive_demo listen%'"
            ).fetchone()
        )


def is_captured(database_url: str, table: str = "profile") -> Verdict:
    """Capture is on `table`, and on `profile` the article's trigger is not."""
    triggers = {
        name
        for (name,) in ask(
            database_url,
            sql.SQL("SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass({})").format(table),
        )
    }
    if "reactive_capture" not in triggers:
        raise CheckFailed(f"The table {table} is not captured: run the cell that captures it.")
    if "notify_profile" in triggers:
        raise CheckFailed(
            "The article's trigger is there too: run the cell that captures it again."
        )
    return Verdict(f"the changes of {table} go into the change table")


def ask(database_url: str, query: sql.Composed) -> list[Any]:
    """Run a query of a check; a refusal is a failed check."""
    try:
        with psycopg.connect(database_url, autocommit=True) as connection:
            return connection.execute(query).fetchall()
    except psycopg.Error as error:
        raise CheckFailed(
            f"The database refuses ({first_line(error)}): run the cells of this section again, "
            "from its title."
        ) from None
