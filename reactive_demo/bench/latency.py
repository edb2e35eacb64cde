"""Milliseconds from a commit to the cache, one write at a time; the median of a round.

The write is in the cache when Redis has said so to who carries it. Nobody asks Redis meanwhile: a
process that did, again and again, would take one of two cores from what is measured.
"""

import statistics
import time
from collections.abc import Callable
from queue import SimpleQueue

from reactive_demo.bench.article import consumer
from reactive_demo.bench.places import Places
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener import Listener

__all__ = ["GOAL", "ROUNDS", "UNIT", "WORK", "pipelines"]

WORK = "commit to cache, light load, median (less is better)"
UNIT = "ms"
GOAL = "ours at most 1.2 x the article's"
ROUNDS = (2, 5)

PAUSE = 0.005
"""Seconds between two writes: the listener sleeps again."""


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """What is compared: the first is the baseline."""
    count = 50 if quick else 300

    def rounds(arrivals: "SimpleQueue[float]") -> float:
        taken = []
        for _ in range(count):
            time.sleep(PAUSE)
            places.database.execute(
                "UPDATE profile SET likes_count = likes_count + 1 WHERE username = 'user1'"
            )
            begun = time.perf_counter()
            taken.append(max(0.0, arrivals.get(timeout=10) - begun))
        return 1000 * statistics.median(taken)

    def article() -> float:
        places.article()
        arrivals: SimpleQueue[float] = SimpleQueue()
        with consumer(places, lambda: arrivals.put(time.perf_counter())):
            return rounds(arrivals)

    def ours() -> float:
        places.captured()
        arrivals: SimpleQueue[float] = SimpleQueue()
        with Listener(ChangeTableFeed(places.database_url), places.cache) as listener:
            listener.wait_until("live", 60)
            listener.carried.watch(lambda _: arrivals.put(time.perf_counter()))
            return rounds(arrivals)

    return {"the article's": article, "ours": ours}
