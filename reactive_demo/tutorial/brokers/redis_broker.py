"""What Redis's two brokers have in common: the connection, and how its loss shows."""

import redis

from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tutorial.brokers.broker import Broker

__all__ = ["RedisBroker"]


class RedisBroker(Broker):
    """A broker in a Redis server."""

    lost = (redis.ConnectionError, redis.TimeoutError)

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._redis = open_redis(url)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
