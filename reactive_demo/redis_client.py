"""How this package opens Redis: with limits to its patience."""

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

__all__ = ["open_redis"]


def open_redis(redis_url: str, *, retries: int = 1) -> redis.Redis:
    """Return a client that gives up after 5 s and tries a dead connection once again.

    `retries=0` is for what must not be done twice.
    """
    options = {} if parse_url(redis_url).get("path") else {"socket_keepalive": True}
    return redis.Redis.from_url(
        redis_url,
        decode_responses=True,
        socket_timeout=5,
        socket_connect_timeout=5,
        # A server that restarted leaves dead connections; one that is silent had its time.
        retry=Retry(NoBackoff(), retries, supported_errors=(redis.ConnectionError,)),
        encoding_errors="replace",  # what others wrote may be anything
        **options,
    )
