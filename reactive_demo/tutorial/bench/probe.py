"""A write, and how long until the cache shows it."""

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tutorial.bench.followers import ARTICLE, following
from reactive_demo.tutorial.bench.places import Places

__all__ = ["Probe", "beside", "beside_writers", "percentile"]

TIMEOUT = 30.0
"""Seconds after which a change is given up, and counts as having taken that long."""

POLL = 0.0002
"""Seconds between two looks at the cache beside writers: few enough not to keep it busy."""


class Probe:
    """Writes one row again and again; `poll` is the pause in seconds between two looks."""

    def __init__(self, places: Places, pipeline: str, poll: float) -> None:
        self._database = places.database
        self._poll = poll
        self._redis = open_redis(places.cache.redis_url)
        key = places.cache.redis_key("probe")
        self._redis.unlink(key)
        self._held: Callable[[], object] = (
            (lambda: self._redis.get(key))
            if pipeline == ARTICLE
            else (lambda: self._redis.hget(key, "version"))
        )

    def take(self) -> float:
        """Return the seconds from the commit of a change until the cache shows it."""
        before = self._held()
        self._database.execute(
            "INSERT INTO public.profile AS p VALUES ('probe')"
            " ON CONFLICT (username) DO UPDATE SET likes_count = p.likes_count + 1"
        )
        begun = time.perf_counter()
        while self._held() == before and time.perf_counter() - begun < TIMEOUT:
            if self._poll:
                time.sleep(self._poll)
        return time.perf_counter() - begun

    def close(self) -> None:
        """Hang up."""
        self._redis.close()


def beside_writers(
    places: Places, pipeline: str, write: Callable[[], float]
) -> tuple[list[float], float]:
    """Install `pipeline`, and follow it while `write` runs; return what `beside` does."""
    places.prepare(pipeline)
    with following(places, pipeline):
        return beside(places, pipeline, write)


def beside(places: Places, pipeline: str, write: Callable[[], float]) -> tuple[list[float], float]:
    """Return how long each change took, in ms, while `write` ran; and what `write` returned."""
    taken: list[float] = []
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        probe = Probe(places, pipeline, POLL)
        writing = pool.submit(write)
        writing.add_done_callback(lambda _: over.set())
        while not over.is_set():
            taken.append(1000 * probe.take())
        probe.close()
        return taken, writing.result()


def percentile(taken: list[float], percent: int) -> float:
    """Return that percentile of what was taken."""
    return statistics.quantiles(taken, n=100, method="inclusive")[percent - 1]
