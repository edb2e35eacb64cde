"""Which errors may pass by themselves."""

import redis
from redis.exceptions import ClusterDownError, MasterDownError, OutOfMemoryError, ReadOnlyError

from reactive_demo.errors import ReactiveDemoError

__all__ = ["is_transient"]

PASSING = (
    redis.ConnectionError,
    redis.TimeoutError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
)

PASSING_REPLIES = ("BUSY ", "MISCONF ")
"""How replies begin that redis-py has no class for: a script that runs on, a full disk."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same call may succeed later, without a change of yours."""
    if isinstance(error, ReactiveDemoError):
        return error.transient
    if isinstance(error, redis.AuthenticationError):
        return False
    if isinstance(error, redis.ResponseError) and str(error).startswith(PASSING_REPLIES):
        return True
    return isinstance(error, PASSING)
