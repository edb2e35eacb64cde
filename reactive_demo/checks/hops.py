"""The way of a change through the pipeline, hop by hop.

1 a write reaches the database; 2 the database announces it; 3 the listener hears it and writes
the cache; 4 the screen follows. The counters that a check asks for, as in `likes=2`, are the least
that its step brings about: whoever runs a cell twice, or clicks, has more.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import psycopg

from reactive_demo.cache import Cache
from reactive_demo.checks.verdict import CheckFailed, Verdict, until
from reactive_demo.profiles import Profiles
from reactive_demo.views import ProfileCard
from reactive_demo.views.label import ABSENT

__all__ = ["cache_follows", "card_shows", "history_ends", "label_shows", "stage_is_set"]

Row = dict[str, Any] | None


def stage_is_set(database_url: str) -> Verdict:
    """Table, function and trigger of the article are in the database."""
    missing = _missing(database_url, ARTICLE)
    if missing:
        raise CheckFailed(f"The database has no {missing[0]}: run the cell with `set_stage`.")
    return Verdict("table, function and trigger are in the database")


def cache_follows(
    profiles: Profiles, cache: Cache, username: str, timeout: float = 5, **at_least: int
) -> Verdict:
    """The write is in the database, and the cached row equals it; if not, say which hop failed."""

    def follows() -> bool:
        row = profiles.get(username)
        return not _short_of(row, at_least) and row == cache.get(username)

    _until(follows, timeout, lambda: _broken_hop(profiles, cache, username, at_least))
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

    _until(
        lambda: not behind(),
        timeout,
        lambda: (
            "Hop 4, the cache follows, and the card does not. It shows "
            f"{', '.join(behind())}: was it closed? Run its cell again."
        ),
    )
    return Verdict(f"the card shows what the database holds about {card.username}")


def label_shows(
    profiles: Profiles,
    cache: Cache,
    username: str,
    label: ipywidgets.Label,
    timeout: float = 5,
    **at_least: int,
) -> Verdict:
    """The label shows the sum of the counters asked for; if not, say which hop failed."""
    cache_follows(profiles, cache, username, timeout, **at_least)
    counters = " and ".join(at_least)

    def total() -> str:
        return str(sum((profiles.get(username) or {}).get(f"{name}_count", 0) for name in at_least))

    _until(
        lambda: total() in re.findall(r"\d+", label.value),
        timeout,
        lambda: (
            f"Hop 4, the cache has {total()} {counters} of {username}, and the label shows "
            f"{label.value!r}. Does `cache.subscribe({username!r}, ...)` call a function that sets "
            "`.value` of this label?"
        ),
    )
    return Verdict(f"the label shows the {counters} of {username}")


def history_ends(
    profiles: Profiles, username: str, history: Sequence[int], timeout: float = 5
) -> Verdict:
    """Several likes were kept, and the last are the database's."""

    def likes() -> int:
        return int((profiles.get(username) or {}).get("likes_count", 0))

    _until(
        lambda: len(set(history)) > 1 and history[-1] == likes(),
        timeout,
        lambda: (
            f"Hop 4, the history should end with {likes()} likes, and it ends with "
            f"{list(history[-3:])}. Does `cache.subscribe({username!r}, ...)` call a function that "
            "appends `row['likes_count']` to it?"
        ),
    )
    return Verdict(f"the history ends with the likes that {username} has")


def _until(condition: Callable[[], bool], timeout: float, reason: Callable[[], str]) -> None:
    """Wait for `condition`; if it does not come, raise the reason."""
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
    captured = not _missing(profiles.database_url, CAPTURE)
    if not captured and (missing := _missing(profiles.database_url, ARTICLE)):
        return (
            f"Hop 2, the database announces nothing: it has no {missing[0]}. Run the cell with "
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


def _missing(database_url: str, trigger: str) -> list[str]:
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
