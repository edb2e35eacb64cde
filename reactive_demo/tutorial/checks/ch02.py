"""Checks of chapter 02: where database and cache differ, and what a writer waits for."""

from collections.abc import Callable, Sequence
from typing import Any

from reactive_demo.app.profiles import Profiles
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until, until_right
from reactive_demo.tutorial.race import Measured
from reactive_demo.tutorial.strategies import Strategy

__all__ = [
    "both_agree",
    "cache_is_ahead",
    "cache_is_behind",
    "each_call_costs_the_delay",
    "reader_sees",
    "reads_its_own_writes",
    "until",
]

ATTEMPTS = 20
"""Writes that tell a reader that is right from one that is lucky."""


def both_agree(
    profiles: Profiles, cache: Cache, username: str, likes: int, timeout: float = 5
) -> Verdict:
    """Check that database and cache have the same likes, at least as many as asked for."""

    def differ() -> str:
        cached, stored = _likes(profiles, cache, username)
        if cached == stored >= likes:
            return ""
        return (
            f"{username} has {cached} likes in the cache and {stored} in the database, and this "
            f"step ends with {likes} or more in both. Run its cells, in order."
        )

    until_right(differ, timeout)
    return Verdict(f"the database and the cache agree about {username}")


def cache_is_ahead(profiles: Profiles, cache: Cache, username: str) -> Verdict:
    """Check that the cache shows likes that the database does not have."""
    cached, stored = _likes(profiles, cache, username)
    _expect(cached > stored, username, cached, stored, "ahead")
    return Verdict(f"the cache shows likes of {username} that are not in the database")


def cache_is_behind(profiles: Profiles, cache: Cache, username: str) -> Verdict:
    """Check that the database has likes that the cache does not show."""
    cached, stored = _likes(profiles, cache, username)
    _expect(cached < stored, username, cached, stored, "behind")
    return Verdict(f"the database has likes of {username} that the cache does not show")


def each_call_costs_the_delay(figures: Sequence[Measured]) -> Verdict:
    """Check that each writer waited at least the delay for each of its calls."""
    slow = [one for one in figures if one.delay > 0]
    if not slow:
        raise CheckFailed("Nothing was measured with a delay yet: move the slider.")
    for one in slow:
        calls = one.database_calls + one.cache_calls
        if one.waited < calls * one.delay:
            raise CheckFailed(
                f"{one.strategy} made {calls} calls and waited {1000 * one.waited:.1f} ms, "
                f"although each call takes {1000 * one.delay:g} ms: measure again."
            )
    return Verdict("each call that a writer waits for costs the delay once")


def reader_sees(profiles: Profiles, strategy: Strategy, username: str, likes: int) -> Verdict:
    """Check that a reader is shown the likes in the database, at least as many as asked for."""
    copy, row = strategy.read(username), profiles.get(username)
    shown, stored = (found["likes_count"] if found else 0 for found in (copy, row))
    if not shown == stored >= likes:
        raise CheckFailed(
            f"A reader is shown {shown} likes of {username}, the database has {stored}, and this "
            f"step ends with {likes} or more in both. Run its cells, in order."
        )
    return Verdict(f"a reader is shown what the database holds about {username}")


def reads_its_own_writes(like: Callable[[str], Any], profiles: Profiles, username: str) -> Verdict:
    """Check that what `like(username)` returns is never older than what it wrote."""
    for _ in range(ATTEMPTS):
        row = like(username)
        shown = row["likes_count"] if row else 0
        stored = (profiles.get(username) or {}).get("likes_count", 0)
        if shown != stored:
            raise CheckFailed(
                f"The row that came back has {shown} likes, and the database has {stored}: it was "
                "read before the listener had written it. What does `write` return?"
            )
    return Verdict(f"{ATTEMPTS} likes, and each of them was in the row that came back")


def _expect(right: bool, username: str, cached: int, stored: int, where: str) -> None:
    if not right:
        raise CheckFailed(
            f"{username} has {cached} likes in the cache and {stored} in the database: the cache "
            f"is not {where}. Run the cells of this step, in order."
        )


def _likes(profiles: Profiles, cache: Cache, username: str) -> tuple[int, int]:
    """Return the likes in the cache, and in the database."""
    copy, row = cache.get(username), profiles.get(username)
    return (copy["likes_count"] if copy else 0, row["likes_count"] if row else 0)
