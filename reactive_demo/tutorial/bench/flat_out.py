"""From commit to cache beside 32 writers flat out, in milliseconds: the 99th percentile."""

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tutorial.bench.article import consumer
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.tutorial.bench.writes import flood

__all__ = ["GOAL", "ROUNDS", "UNIT", "WORK", "pipelines"]

WORK = "commit to cache, 32 writers flat out, p99 (less is better)"
UNIT = "ms"
GOAL = "below the article's"
ROUNDS = (2, 5)

TIMEOUT = 30.0
"""Seconds after which a change is given up, and counts as having taken that long."""

POLL = 0.0002
"""Seconds between two looks at the cache: few enough not to keep it busy."""


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return what is compared; the first is the baseline."""
    seconds = 2 if quick else 8

    def beside_writers(held: Callable[[], str | None]) -> float:
        taken: list[float] = []
        over = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(flood, places.database_url, seconds)
            writing.add_done_callback(lambda _: over.set())
            while not over.is_set():
                taken.append(_one(places, held))
            writing.result()
        return 1000 * statistics.quantiles(taken, n=100, method="inclusive")[98]

    def article() -> float:
        places.article()
        with consumer(places), open_redis(places.cache.redis_url) as client:
            key = places.cache.redis_key("probe")
            client.unlink(key)
            return beside_writers(lambda: client.get(key))

    def ours() -> float:
        places.captured()
        with open_redis(places.cache.redis_url) as client:
            key = places.cache.redis_key("probe")
            client.unlink(key)
            with Listener(ChangeTableFeed(places.database_url), places.cache) as listener:
                listener.wait_until("live", 60)
                return beside_writers(lambda: client.hget(key, "row"))

    return {"the article's": article, "ours": ours}


def _one(places: Places, held: Callable[[], str | None]) -> float:
    """Return the seconds from the commit of a change until the cache shows it."""
    before = held()
    places.database.execute(
        "INSERT INTO public.profile AS p VALUES ('probe')"
        " ON CONFLICT (username) DO UPDATE SET likes_count = p.likes_count + 1"
    )
    begun = time.perf_counter()
    while held() == before and time.perf_counter() - begun < TIMEOUT:
        time.sleep(POLL)
    return time.perf_counter() - begun
