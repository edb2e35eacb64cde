"""Which errors may pass by themselves."""

import redis

from reactive_demo.errors import ReactiveDemoError

__all__ = ["is_transient"]


def is_transient(error: BaseException) -> bool:
    """Return whether the same call may succeed later, without a change of yours."""
    if isinstance(error, ReactiveDemoError):
        return error.transient
    return isinstance(error, redis.ConnectionError | redis.TimeoutError) and not isinstance(
        error, redis.AuthenticationError
    )
