"""A large table: how long until a listener that was away, or an empty cache, has caught up."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from reactive_demo.capture.install import install
from reactive_demo.listener.listener import Listener
from reactive_demo.tutorial.bench.followers import DURABLE, FEEDS
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
    ROUNDS = (1, 5)

    @staticmethod
    def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
        """Return the durable ones: the article's loses the changes."""
        rows = _rows(quick=quick)

        def restart(pipeline: str) -> float:
            _make(places, rows, pipeline)
            _listen(places, pipeline)
            places.database.execute(
                "UPDATE public.large SET likes_count = likes_count + 1 WHERE username IN"
                " (SELECT 'user' || (random() * %s)::int FROM generate_series(1, %s))",
                [rows, MISSED],
            )
            return 1000 * _listen(places, pipeline)

        return {f"{name}, of {rows:,} rows": partial(restart, name) for name in DURABLE}


class Fill:
    """From connecting until every row is in a cache that was empty."""

    WORK = "fill an empty cache (less is better)"
    UNIT = "s"
    GOAL = "at most 15 s for 1,000,000 rows"
    ROUNDS = (1, 2)

    @staticmethod
    def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
        """Return the durable ones: the article's cannot fill a cache."""
        rows = _rows(quick=quick)

        def fill(pipeline: str) -> float:
            _make(places, rows, pipeline)
            forget(places.large_cache.redis_url, places.large_cache.table)
            return _listen(places, pipeline)

        return {f"{name}, of {rows:,} rows": partial(fill, name) for name in DURABLE}

    @staticmethod
    def note(_: str, seconds: float, *, quick: bool) -> str:
        """Return the same as a rate."""
        return f"{_rows(quick=quick) / seconds:,.0f} rows/s"


def _rows(*, quick: bool) -> int:
    return 20_000 if quick else 1_000_000


def _make(places: Places, rows: int, pipeline: str) -> None:
    """Create and capture the table, if it is not there yet."""
    execute: Callable[..., Any] = places.database.execute
    if not execute("SELECT to_regclass('public.large')").fetchone()[0]:
        execute("CREATE TABLE public.large (LIKE public.profile INCLUDING ALL)")
        execute(
            "INSERT INTO public.large SELECT 'user' || n, n, n, n FROM generate_series(1, %s) n",
            [rows],
        )
        execute("VACUUM ANALYZE public.large")
        execute("CHECKPOINT")
    install(places.database_url, "large", feed=pipeline.removeprefix("the "))


def _listen(places: Places, pipeline: str) -> float:
    """Return the seconds from a listener's start until it has written all there is."""
    begun = time.perf_counter()
    feed = FEEDS[pipeline](places.database_url, "large")
    with Listener(feed, places.large_cache) as listener:
        listener.wait_until("live", 600)
        return time.perf_counter() - begun
