"""The article's consumer as published: one SET for each notification."""

import json
import threading

from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.client import open_redis

__all__ = ["consume"]


def consume(
    database_url: str, cache: Cache, ready: threading.Event, ended: threading.Event
) -> None:
    """Consume until `ended`; say when it is `ready`."""
    with (
        open_redis(cache.redis_url) as client,
        open_postgres(database_url, "bench") as connection,
    ):
        connection.execute("LISTEN profile_change")
        ready.set()
        while not ended.is_set():
            for notification in connection.notifies(timeout=0.1):
                row = json.loads(notification.payload)["row"]
                client.set(cache.redis_key(row["username"]), json.dumps(row))
                if ended.is_set():
                    break
