"""What Redis knows of a table's listeners: the newest term, and when a leader last wrote."""

import math
import uuid
from typing import cast

import redis

from reactive_demo.errors import RefusedError
from reactive_demo.redis_cache.client import script
from reactive_demo.redis_cache.keys import feed_key

__all__ = ["Leaders", "check_granted"]


class Leaders:
    """The leaders of one table's feed, newest first."""

    def __init__(self, client: redis.Redis, table: str) -> None:
        self._redis = client
        self._feed = feed_key(table)
        self._open_term = script(client, "open_term.lua")
        self._alive = script(client, "alive.lua")
        self._identity = script(client, "identity.lua")

    def identity(self) -> str:
        """Return a name that everybody is told who reaches this feed, by whatever address."""
        return str(self._identity(keys=[self._feed], args=[uuid.uuid4().hex]))

    def open_term(self, kind: str) -> int:
        """Become the newest listener with a feed of that kind; return the number of its term.

        It is greater than all before it, also when Redis was emptied meanwhile.
        """
        return int(self._open_term(keys=[self._feed], args=[f"newest {kind}"]))

    def current_term(self, kind: str) -> int:
        """Return the number of the newest term; 0 if there is none, or Redis was emptied."""
        return int(cast("str", self._redis.hget(self._feed, f"newest {kind}")) or 0)

    def seconds_without_leader(self) -> float:
        """Return how long ago a leader last wrote, by Redis's clock; infinity if none ever did."""
        now, alive = self._alive(keys=[self._feed], args=[])
        return math.inf if alive is None else float(now) - float(alive)


def check_granted(epoch: str, told: str, prefix: str, incarnation: str) -> None:
    """Raise RefusedError if a lease was refused; `told` is the rest of the script's reply."""
    if epoch == "another":
        raise RefusedError(
            f"Another database wrote the keys {prefix}* of this Redis {told} s ago: give "
            "each a Redis database or a table prefix of its own, or run `reactive-demo resync` "
            "to have this one take the keys over."
        )
    if epoch == "older":
        raise RefusedError(
            f"The keys {prefix}* followed this database to timeline {told}, and this server "
            f"is on an earlier one, {incarnation.split('/')[2]}, as a former primary is: let "
            "DATABASE_URL name the primary, or run `reactive-demo resync` to go back."
        )
