"""Milliseconds from a commit to the cache, one write at a time; the median of a round."""

import statistics
import time
from collections.abc import Callable
from functools import partial

from reactive_demo.tutorial.bench.followers import PEERS, PIPELINES, following
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.tutorial.bench.probe import Probe

__all__ = ["GOAL", "ROUNDS", "UNIT", "WORK", "latencies", "pipelines"]

WORK = "commit to cache, light load, median (less is better)"
UNIT = "ms"
GOAL = "at most 2.5 x the article's by the change table, 1.4 x by the log"
ROUNDS = (1, 5)

PAUSE = 0.005
"""Seconds between two writes: enough for the listener to go back to sleep."""


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return what is compared; the first is the baseline."""
    count = 50 if quick else 300

    def measure(pipeline: str) -> float:
        places.prepare(pipeline)
        with following(places, pipeline):
            return statistics.median(latencies(places, pipeline, count))

    return {name: partial(measure, name) for name in (*PIPELINES, *PEERS)}


def latencies(places: Places, pipeline: str, count: int) -> list[float]:
    """Return how long each of `count` changes took, in ms, while `pipeline` follows."""
    probe, taken = Probe(places, pipeline, 0), []
    for _ in range(count):
        time.sleep(PAUSE)
        taken.append(1000 * probe.take())
    probe.close()
    return taken
