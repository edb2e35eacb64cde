"""Checks of chapter 04: the path of a change, hop by hop."""

import re
from collections.abc import Sequence

import ipywidgets

from reactive_demo.app.profiles import Profiles
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tutorial.checks.pipeline import ARTICLE, cache_follows, card_shows, missing
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until, until_right

__all__ = ["cache_follows", "card_shows", "history_ends", "label_shows", "stage_is_set", "until"]


def stage_is_set(database_url: str) -> Verdict:
    """Check that the article's table, function and trigger are in the database."""
    if lacking := missing(database_url, ARTICLE):
        raise CheckFailed(f"The database has no {lacking[0]}: run the cell with `set_stage`.")
    return Verdict("table, function and trigger are in the database")


def label_shows(
    profiles: Profiles,
    cache: Cache,
    username: str,
    label: ipywidgets.Label,
    timeout: float = 5,
    **at_least: int,
) -> Verdict:
    """Check that the label shows the sum of the counters."""
    cache_follows(profiles, cache, username, timeout, **at_least)
    counters = " and ".join(at_least)

    def stale() -> str:
        row = profiles.get(username) or {}
        total = sum(row.get(f"{name}_count", 0) for name in at_least)
        if str(total) in re.findall(r"\d+", label.value):
            return ""
        return (
            f"Hop 4, the cache has {total} {counters} of {username}, and the label shows "
            f"{label.value!r}. Does `cache.subscribe({username!r}, ...)` call a function that sets "
            "`.value` of this label?"
        )

    until_right(stale, timeout)
    return Verdict(f"the label shows the {counters} of {username}")


def history_ends(
    profiles: Profiles, username: str, history: Sequence[int], timeout: float = 5
) -> Verdict:
    """Check that the history has several counts of likes and ends with the database's."""

    def incomplete() -> str:
        likes = (profiles.get(username) or {}).get("likes_count", 0)
        if len(set(history)) > 1 and history[-1] == likes:
            return ""
        return (
            f"Hop 4, the history should end with {likes} likes, and it ends with "
            f"{list(history[-3:])}. Does `cache.subscribe({username!r}, ...)` call a function that "
            "appends `row['likes_count']` to it?"
        )

    until_right(incomplete, timeout)
    return Verdict(f"the history ends with the likes that {username} has")
