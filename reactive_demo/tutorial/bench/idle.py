"""The CPU that an idle listener costs: its own thread, and its backend in PostgreSQL."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import psutil

from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.postgres import open_postgres
from reactive_demo.tutorial.bench.places import Places

__all__ = ["GOAL", "ROUNDS", "UNIT", "WORK", "pipelines"]

WORK = "an idle listener and its backend (less is better)"
UNIT = "% of a core"
GOAL = "under 0.5 % of a core"
ROUNDS = (1, 3)

SETTLE = 2.0
"""Seconds until a live listener has gone to sleep, or polls at its slowest."""

OPEN = b"UPDATE public.profile SET likes_count = likes_count + 1 WHERE username = 'user2'"


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return a listener on its own, and beside a transaction that is open and idle.

    A transaction that wrote while the listener slept will ring the doorbell. One that wrote before
    will not; it holds the bell's lock, so the listener has to poll for as long as it is open.
    """
    seconds = 5 if quick else 10  # a tick of 10 ms is 0.2 % or 0.1 %

    def idle(before: AbstractContextManager[object], then: AbstractContextManager[object]) -> float:
        places.captured()
        with before, Listener(ChangeTableFeed(places.database_url), places.cache) as listener:
            listener.wait_until("live", 60)
            time.sleep(SETTLE)
            with then:
                backend = psutil.Process(_backend(places))
                spent, begun = _spent(backend), time.perf_counter()
                time.sleep(seconds)
                return 100 * (_spent(backend) - spent) / (time.perf_counter() - begun)

    @contextmanager
    def open_transaction() -> Iterator[None]:
        with open_postgres(places.database_url, "bench", autocommit=False) as other:
            other.execute(OPEN)
            yield
            other.rollback()

    return {
        "nothing open": lambda: idle(nullcontext(), nullcontext()),
        "beside an open transaction that will ring": lambda: idle(
            nullcontext(), open_transaction()
        ),
        "beside an open transaction that will not": lambda: idle(open_transaction(), nullcontext()),
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
