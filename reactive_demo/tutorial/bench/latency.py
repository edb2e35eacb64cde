"""Milliseconds from a commit to the cache, one write at a time; the median of a round."""

import statistics
import time
from collections.abc import Callable

from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tutorial.bench.article import consumer
from reactive_demo.tutorial.bench.places import Places

__all__ = ["GOAL", "ROUNDS", "UNIT", "WORK", "pipelines"]

WORK = "commit to cache, light load, median (less is better)"
UNIT = "ms"
GOAL = "ours at most 1.2 x the article's"
ROUNDS = (2, 5)

PAUSE = 0.005
"""Seconds between two writes: enough for the listener to go back to sleep."""


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return what is compared; the first is the baseline."""
    count = 50 if quick else 300
    key = places.cache.redis_key("user1")

    def rounds(held: Callable[[], str | None]) -> float:
        taken = []
        for _ in range(count):
            time.sleep(PAUSE)
            before = held()
            places.database.execute(
                "UPDATE public.profile SET likes_count = likes_count + 1 WHERE username = 'user1'"
            )
            begun = time.perf_counter()
            while held() == before:
                pass
            taken.append(time.perf_counter() - begun)
        return 1000 * statistics.median(taken)

    def article() -> float:
        places.article()
        with consumer(places), open_redis(places.cache.redis_url) as client:
            client.unlink(key)
            return rounds(lambda: client.get(key))

    def ours() -> float:
        places.captured()
        with open_redis(places.cache.redis_url) as client:
            client.unlink(key)
            with Listener(ChangeTableFeed(places.database_url), places.cache) as listener:
                listener.wait_until("live", 60)
                return rounds(lambda: client.hget(key, "version"))

    return {"the article's": article, "ours": ours}
