"""What a listener costs when nothing changes: its thread, and its backend where it is seen."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import psutil
import psycopg

from reactive_demo.bench.places import Places
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener import Listener

__all__ = ["GOAL", "ROUNDS", "UNIT", "WORK", "pipelines"]

WORK = "an idle listener and its backend (less is better)"
UNIT = "% of a core"
GOAL = "under 0.5 % of a core"
ROUNDS = (1, 3)

HOLD_THE_BELL = b"SELECT pg_advisory_xact_lock_shared(reactive.bell('public.profile'))"
"""Waits until the listener is awake, since it holds the bell while it sleeps."""


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Plain figures, each with the same goal."""
    seconds = 2 if quick else 10

    def idle(beside: Callable[[], AbstractContextManager[object]]) -> float:
        places.captured()
        with Listener(ChangeTableFeed(places.database_url), places.cache) as listener:
            listener.wait_until("live", 60)
            with beside():
                backend = psutil.Process(_backend(places))
                before, begun = _spent(backend), time.perf_counter()
                time.sleep(seconds)
                return 100 * (_spent(backend) - before) / (time.perf_counter() - begun)

    @contextmanager
    def open_transaction(*, rung: bool) -> Iterator[None]:
        with psycopg.connect(places.database_url) as other:
            if not rung:  # as a writer who came while the listener was awake
                other.execute(
                    "SELECT pg_advisory_xact_lock_shared(reactive.bell('public.profile'))"
                )
            other.execute(
                "UPDATE profile SET likes_count = likes_count + 1 WHERE username = 'user2'"
            )
            yield
            other.rollback()

    return {
        "nothing open": lambda: idle(nullcontext),
        "beside an open transaction that will ring": lambda: idle(
            lambda: open_transaction(rung=True)
        ),
        "beside an open transaction that will not": lambda: idle(
            lambda: open_transaction(rung=False)
        ),
    }


def _backend(places: Places) -> int:
    found = places.database.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE '%demo listen%'"
    ).fetchone()
    return int(found[0]) if found else 0


def _spent(backend: psutil.Process) -> float:
    times = backend.cpu_times()
    return time.process_time() + times.user + times.system
