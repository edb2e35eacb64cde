"""The CPU that an idle listener costs: its own process, and its backends in PostgreSQL."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import psutil

from reactive_demo.postgres import open_postgres
from reactive_demo.tutorial.bench.followers import DURABLE, following
from reactive_demo.tutorial.bench.places import Places

__all__ = ["GOAL", "ROUNDS", "UNIT", "WORK", "pipelines"]

WORK = "an idle listener and its backends (less is better)"
UNIT = "% of a core"
GOAL = "under 0.5 % of a core"
ROUNDS = (1, 3)

SETTLE = 2.0
"""Seconds until a live listener has gone to sleep, or polls at its slowest."""

Beside = Callable[[], AbstractContextManager[object]]

OPEN = b"UPDATE public.profile SET likes_count = likes_count + 1 WHERE username = 'user2'"


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return a listener on its own, and beside a transaction that is open and idle.

    A transaction that wrote while the listener slept will ring the doorbell. One that wrote before
    will not; it holds the bell's lock, so the listener has to poll for as long as it is open.
    """
    seconds = 3 if quick else 10  # a tick of 10 ms is 0.3 % or 0.1 %

    def idle(
        pipeline: str,
        before: Beside,
        then: Beside,
    ) -> float:
        places.prepare(pipeline)
        with following(places, pipeline):  # a new slot would wait for the transaction
            pass
        with before(), following(places, pipeline) as pid:
            time.sleep(SETTLE)
            with then():
                processes = [psutil.Process(each) for each in (pid, *_backends(places))]
                spent, begun = _spent(processes), time.perf_counter()
                time.sleep(seconds)
                return 100 * (_spent(processes) - spent) / (time.perf_counter() - begun)

    @contextmanager
    def open_transaction() -> Iterator[None]:
        with open_postgres(places.database_url, "bench", autocommit=False) as other:
            other.execute(OPEN)
            yield
            other.rollback()

    beside: dict[str, tuple[Beside, Beside]] = {
        "nothing open": (nullcontext, nullcontext),
        "beside an open transaction that will ring": (nullcontext, open_transaction),
        "beside an open transaction that will not": (open_transaction, nullcontext),
    }
    return {
        f"{pipeline}, {words}": partial(idle, pipeline, *when)
        for pipeline in DURABLE
        for words, when in beside.items()
        if (pipeline == DURABLE[0] or not words.endswith("not"))  # the log has no bell
        and not (quick and words != "nothing open")
    }


def _backends(places: Places) -> list[int]:
    found = places.database.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name ~ 'reactive_demo (listen|prune|stream)'"
    )
    return [int(pid) for (pid,) in found]


def _spent(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
