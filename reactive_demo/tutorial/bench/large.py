"""A large table: how long until a listener that was away, or an empty cache, has caught up."""

import time
from collections.abc import Callable
from typing import Any

from reactive_demo.capture.install import install
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.tutorial.chapter_setup import forget

__all__ = ["Fill", "Restart"]

MISSED = 1_000
"""Changes made while no listener ran."""


class Restart:
    """From connecting until the missed changes are cached: it depends on them, not on the table."""

    WORK = f"restart after {MISSED:,} changes missed (less is better)"
    UNIT = "ms"
    GOAL = "at most 100 ms after connecting"
    ROUNDS = (2, 5)

    @staticmethod
    def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
        """Return ours alone: the article's loses the changes."""
        rows = _rows(quick=quick)

        def restart() -> float:
            _make(places, rows)
            _listen(places)
            places.database.execute(
                "UPDATE public.large SET likes_count = likes_count + 1 WHERE username IN"
                " (SELECT 'user' || (random() * %s)::int FROM generate_series(1, %s))",
                [rows, MISSED],
            )
            return 1000 * _listen(places)

        return {f"ours, a table of {rows:,} rows": restart}


class Fill:
    """From connecting until every row is in a cache that was empty."""

    WORK = "fill an empty cache (less is better)"
    UNIT = "s"
    GOAL = "at most 15 s for 1,000,000 rows"
    ROUNDS = (1, 2)

    @staticmethod
    def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
        """Return ours alone: the article's cannot fill a cache."""
        rows = _rows(quick=quick)

        def fill() -> float:
            _make(places, rows)
            forget(places.large_cache.redis_url, places.large_cache.table)
            return _listen(places)

        return {f"ours, a table of {rows:,} rows": fill}

    @staticmethod
    def note(seconds: float, *, quick: bool) -> str:
        """Return the same as a rate."""
        return f"{_rows(quick=quick) / seconds:,.0f} rows/s"


def _rows(*, quick: bool) -> int:
    return 50_000 if quick else 1_000_000


def _make(places: Places, rows: int) -> None:
    """Create and capture the table, if it is not there yet."""
    execute: Callable[..., Any] = places.database.execute
    if not execute("SELECT to_regclass('public.large')").fetchone()[0]:
        execute("CREATE TABLE public.large (LIKE public.profile INCLUDING ALL)")
        execute(
            "INSERT INTO public.large SELECT 'user' || n, n, n, n FROM generate_series(1, %s) n",
            [rows],
        )
        install(places.database_url, "large")
        execute("VACUUM ANALYZE public.large")
        execute("CHECKPOINT")


def _listen(places: Places) -> float:
    """Return the seconds from a listener's start until it has written all there is."""
    begun = time.perf_counter()
    feed = ChangeTableFeed(places.database_url, "large")
    with Listener(feed, places.large_cache) as listener:
        listener.wait_until("live", 600)
        return time.perf_counter() - begun
