"""The way of a change through the pipeline, hop by hop."""

import time
from typing import Any

import psycopg

from reactive_demo.cache import Cache
from reactive_demo.checks.verdict import CheckFailed, Verdict, until
from reactive_demo.profiles import Profiles
from reactive_demo.views import ProfileCard
from reactive_demo.views.label import ABSENT

__all__ = ["cache_follows", "card_shows", "stage_is_set"]


def stage_is_set(database_url: str) -> Verdict:
    """Table, function and trigger of the article are in the database."""
    missing = _missing(database_url)
    if missing:
        raise CheckFailed(
            f"The database has no {missing[0]}: run the cell with `install(stack.database_url)`."
        )
    return Verdict("table, function and trigger are in the database")


def cache_follows(profiles: Profiles, cache: Cache, username: str, timeout: float = 5) -> Verdict:
    """The cached row equals the database's; if it does not come to that, say which hop failed."""
    deadline = time.monotonic() + timeout
    while (row := profiles.get(username)) != (cached := cache.get(username)):
        if time.monotonic() > deadline:
            raise CheckFailed(_broken_hop(profiles, username, row, cached))
        time.sleep(0.01)
    return Verdict(f"the database and the cache agree about {username}")


def card_shows(profiles: Profiles, card: ProfileCard, timeout: float = 5) -> Verdict:
    """Every number on the card is the database's; if not, say which hop failed."""
    cache_follows(profiles, card.cache, card.username, timeout)
    row = profiles.get(card.username) or {}
    for counter, label in card.labels.items():
        wanted = str(row.get(f"{counter}_count", ABSENT))
        until(
            f"hop 4, the cache has {wanted} {counter} and the card shows {label.value}",
            lambda label=label, wanted=wanted: label.value == wanted,
            timeout,
        )
    return Verdict(f"the card shows what the database holds about {card.username}")


def _broken_hop(profiles: Profiles, username: str, row: Any, cached: Any) -> str:
    """Follow the change's way, and name the first hop that is broken."""
    if row is None:
        return f"The cache still holds {username}, and the database does not: {cached}."
    if missing := _missing(profiles.database_url):
        return (
            f"Hop 1, the database announces nothing: it has no {missing[0]}. Run "
            "`install(stack.database_url)`."
        )
    if not _listening(profiles.database_url):
        return (
            "Hop 2, nobody listens: no connection has LISTENed. Is the listener started, and what "
            "does `listener.check()` say?"
        )
    return (
        f"Hop 3, the cache is behind: the database has {row}, the cache {cached}. What do "
        "`listener.state` and `listener.stats` say? A change made before the listener was live is "
        "lost to it: change the profile again."
    )


def _missing(database_url: str) -> list[str]:
    wanted = {
        "table profile": "to_regclass('public.profile')",
        "function reactive.increment": "to_regproc('reactive.increment')",
        "trigger notify_profile": (
            "(SELECT oid FROM pg_trigger WHERE tgname = 'notify_profile'"
            " AND tgrelid = to_regclass('public.profile') AND tgenabled <> 'D')"
        ),
    }
    with psycopg.connect(database_url, autocommit=True) as connection:
        found = connection.execute(f"SELECT {', '.join(wanted.values())}".encode()).fetchone() or ()
    return [name for name, oid in zip(wanted, found, strict=True) if oid is None]


def _listening(database_url: str) -> bool:
    with psycopg.connect(database_url, autocommit=True) as connection:
        return bool(
            connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name LIKE '%reactive_demo listen%'"
            ).fetchone()
        )
