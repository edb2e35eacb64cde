"""Changes a second from a backlog, each of a different key."""

import json
import time
from collections.abc import Callable
from functools import partial

from reactive_demo.listener.listener import Applied, Listener
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tutorial.bench.followers import DURABLE, FEEDS, following
from reactive_demo.tutorial.bench.places import Places

__all__ = [
    "COUNTS",
    "GOAL",
    "ROUNDS",
    "UNIT",
    "WORK",
    "article_drained",
    "change",
    "drain",
    "drained",
    "pipelines",
]

WORK = "changes from a backlog (more is better)"
UNIT = "1/s"
GOAL = "ours at least 0.35 of the loop that only receives"
ROUNDS = (1, 5)

COUNTS = (10_000, 100_000)
"""Changes, in a quick run and in a full one."""


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return what is compared; the first is the baseline."""
    count = COUNTS[0 if quick else 1]

    def article(consume: Callable[[], float]) -> float:
        places.article()
        return consume()

    return {
        "a loop that only receives": lambda: article(lambda: _notified(places, count, len)),
        "the article's, one SET each": lambda: article(lambda: article_drained(places, count)),
        **{pipeline: partial(drained, places, pipeline, count) for pipeline in DURABLE},
    }


def article_drained(places: Places, count: int) -> float:
    """Cache `count` changes as the article does, whose trigger is there; return how many a second.

    They are written first.
    """
    with open_redis(places.cache.redis_url) as client:

        def store(payload: str) -> None:
            row = json.loads(payload)["row"]
            client.set(places.cache.redis_key(row["username"]), json.dumps(row))

        return _notified(places, count, store)


def _notified(places: Places, count: int, handle: Callable[[str], object]) -> float:
    with open_postgres(places.database_url, "bench") as connection:
        connection.execute("LISTEN profile_change")
        change(places, count)
        begun, received = time.perf_counter(), 0
        while received < count:
            for notification in connection.notifies(timeout=1):
                handle(notification.payload)
                received += 1
                if received == count:
                    break
        return count / (time.perf_counter() - begun)


def drained(places: Places, pipeline: str, count: int) -> float:
    """Write `count` changes, and then have a listener cache them; return how many a second."""
    places.prepare(pipeline)
    with following(places, pipeline):
        pass
    change(places, count)
    return count / drain(places, pipeline)


def change(places: Places, count: int) -> None:
    """Change `count` rows in one statement."""
    places.database.execute(
        "INSERT INTO public.profile AS p SELECT 'late' || n FROM generate_series(1, %s) n"
        " ON CONFLICT (username) DO UPDATE SET likes_count = p.likes_count + 1",
        [count],
    )


def drain(places: Places, pipeline: str, applied: Callable[[Applied], None] | None = None) -> float:
    """Read and write all there is; return the seconds it took, without connecting.

    Calls `applied` for each batch.
    """
    begun: list[float] = []
    listener = Listener(FEEDS[pipeline](places.database_url, "profile"), places.cache)
    if applied:
        listener.applied.subscribe(applied)
    with listener:
        listener.observe(lambda _: begun.append(time.perf_counter()))
        listener.wait_until("live", 60)
        return time.perf_counter() - begun[1]  # once it was connected
