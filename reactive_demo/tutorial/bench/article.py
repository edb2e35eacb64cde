"""The article's consumer as published: one SET for each notification."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tutorial.bench.places import Places

__all__ = ["consumer"]


@contextmanager
def consumer(places: Places) -> Iterator[None]:
    """Run the consumer in a thread."""
    ended, ready = threading.Event(), threading.Event()

    def consume() -> None:
        client = open_redis(places.cache.redis_url)
        with open_postgres(places.database_url, "bench") as connection:
            connection.execute("LISTEN profile_change")
            ready.set()
            while not ended.is_set():
                for notification in connection.notifies(timeout=0.1):
                    row = json.loads(notification.payload)["row"]
                    client.set(places.cache.redis_key(row["username"]), json.dumps(row))
                    if ended.is_set():
                        break
        client.close()

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield
    finally:
        ended.set()
        thread.join(30)
