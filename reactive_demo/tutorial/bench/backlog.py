"""Changes a second from a backlog, each of a different key."""

import json
import time
from collections.abc import Callable
from dataclasses import replace

from reactive_demo.changes import State
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.waiting import StopEvent

__all__ = ["COUNTS", "GOAL", "ROUNDS", "UNIT", "WORK", "drained", "pipelines"]

WORK = "changes from a backlog (more is better)"
UNIT = "1/s"
GOAL = "ours at least 200,000 where a loop that only receives gets 520,000"
ROUNDS = (2, 5)

COUNTS = (10_000, 100_000)
"""Changes, in a quick run and in a full one."""


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return what is compared; the first is the baseline."""
    count = COUNTS[0 if quick else 1]

    def notified(handle: Callable[[str], object]) -> float:
        places.article()
        with open_postgres(places.database_url, "bench") as connection:
            connection.execute("LISTEN profile_change")
            _write(places, count)
            begun, received = time.perf_counter(), 0
            while received < count:
                for notification in connection.notifies(timeout=1):
                    handle(notification.payload)
                    received += 1
                    if received == count:
                        break
            return count / (time.perf_counter() - begun)

    def article() -> float:
        client = open_redis(places.cache.redis_url)

        def store(payload: str) -> None:
            row = json.loads(payload)["row"]
            client.set(places.cache.redis_key(row["username"]), json.dumps(row))

        try:
            return notified(store)
        finally:
            client.close()

    return {
        "a loop that only receives": lambda: notified(len),
        "the article's, one SET each": article,
        "ours": lambda: drained(places, count),
    }


def drained(places: Places, count: int) -> float:
    """Write `count` changes, and then read and cache them; return how many a second."""
    places.captured()
    _drain(places)
    _write(places, count)
    return count / _drain(places)


def _write(places: Places, count: int) -> None:
    places.database.execute(
        "INSERT INTO public.profile AS p SELECT 'late' || n FROM generate_series(1, %s) n"
        " ON CONFLICT (username) DO UPDATE SET likes_count = p.likes_count + 1",
        [count],
    )


def _drain(places: Places) -> float:
    """Read and write all there is; return the seconds it took, without connecting."""
    with ChangeTableFeed(places.database_url).open() as session:
        begun = time.perf_counter()
        lease = places.cache.acquire_lease(session.incarnation())
        for batch in session.batches(lease.cursor, StopEvent()):
            if not batch.is_empty:
                places.cache.write(batch, lease)
                lease = replace(lease, sequence=lease.sequence + 1)
            if batch.state is State.LIVE and not batch.changes and batch.evict_below is None:
                break  # no more to read; this batch may be a sign of life
        return time.perf_counter() - begun
