"""Checks of the chapter on cache strategies: where database and cache differ, who waits."""

from collections.abc import Callable, Sequence
from typing import Any

from reactive_demo.app.profiles import Profiles
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until
from reactive_demo.tutorial.race import Measured

__all__ = [
    "both_agree",
    "cache_is_ahead",
    "cache_is_behind",
    "each_call_costs_the_delay",
    "reads_its_own_writes",
    "until",
]

TRIES = 20
"""Writes after which a reader has shown whether it is lucky or right."""


def both_agree(
    profiles: Profiles, cache: Cache, username: str, likes: int, timeout: float = 5
) -> Verdict:
    """Database and cache have the same likes, and at least as many as asked for."""

    def agree() -> bool:
        cached, stored = _likes(profiles, cache, username)
        return cached == stored >= likes

    try:
        until("", agree, timeout)
    except CheckFailed:
        cached, stored = _likes(profiles, cache, username)
        raise CheckFailed(
            f"{username} has {cached} likes in the cache and {stored} in the database, and this "
            f"step ends with {likes} or more in both. Run its cells, in order."
        ) from None
    return Verdict(f"the database and the cache agree about {username}")


def cache_is_ahead(profiles: Profiles, cache: Cache, username: str) -> Verdict:
    """The cache shows likes that the database does not have."""
    cached, stored = _likes(profiles, cache, username)
    if cached <= stored:
        raise CheckFailed(
            f"{username} has {cached} likes in the cache and {stored} in the database: the cache "
            "is not ahead. Run the cells of this step, in order."
        )
    return Verdict(f"the cache shows likes of {username} that are not in the database")


def cache_is_behind(profiles: Profiles, cache: Cache, username: str) -> Verdict:
    """The cache does not show all likes that the database has."""
    cached, stored = _likes(profiles, cache, username)
    if cached >= stored:
        raise CheckFailed(
            f"{username} has {cached} likes in the cache and {stored} in the database: the cache "
            "is not behind. Run the cells of this step, in order."
        )
    return Verdict(f"the database has likes of {username} that the cache does not show")


def each_call_costs_the_delay(figures: Sequence[Measured]) -> Verdict:
    """With some delay, each writer waited for it once a call, or longer."""
    slow = [one for one in figures if one.delay > 0]
    if not slow:
        raise CheckFailed("Nothing was measured with a delay yet: move the slider.")
    for one in slow:
        calls = one.database_calls + one.cache_calls
        if one.waited < calls * one.delay:
            raise CheckFailed(
                f"{one.strategy} made {calls} calls and waited {one.waited:.1f} ms, although each "
                f"call takes {one.delay:g} ms: was the slider moved meanwhile?"
            )
    return Verdict("each call that a writer waits for costs the delay once")


def reads_its_own_writes(like: Callable[[str], Any], profiles: Profiles, username: str) -> Verdict:
    """What `like(username)` returns is never older than what it wrote."""
    for _ in range(TRIES):
        row = like(username)
        shown = row["likes_count"] if row else 0
        stored = (profiles.get(username) or {}).get("likes_count", 0)
        if shown != stored:
            raise CheckFailed(
                f"The row that came back has {shown} likes, and the database has {stored}: it was "
                "read before the listener had written it. What does `write` return?"
            )
    return Verdict(f"{TRIES} likes, and each of them was in the row that came back")


def _likes(profiles: Profiles, cache: Cache, username: str) -> tuple[int, int]:
    """In the cache, and in the database."""
    copy, row = cache.get(username), profiles.get(username)
    return (copy["likes_count"] if copy else 0, row["likes_count"] if row else 0)
