"""One value that Redis refuses does not hold up the others: it is set aside.

So is a row that PostgreSQL could not show.

Redis closes the connection at a value that is too large for it (`proto-max-bulk-len`), which looks
as if it were away, for ever; and an account may have no right to a key. So what fails is tried
again in halves, down to single values, but only while Redis takes a batch without values: then it
is the value, and not the server.
"""

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import redis

from reactive_demo.cache import MOST_ASIDE, Cache
from reactive_demo.changes import Batch
from reactive_demo.errors import first_line

__all__ = ["Outcome", "Writer"]

log = logging.getLogger(__name__)

ATTEMPTS = 2
"""How often a single value is tried, with a sign of life from Redis after each failure."""

_OF_A_VALUE = (redis.ConnectionError, redis.ResponseError, redis.DataError)
_OF_THE_SERVER = (redis.OutOfMemoryError, redis.ReadOnlyError)
_CODE = re.compile(r"(?:.* caused error: )?[A-Z]{2,} ")
"""A code such as MISCONF tells of the server's state: redis-py strips those of a command."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch."""

    newer: int
    """Rows newer than what the cache held."""
    aside: int = 0
    """Rows that were set aside."""

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(self.newer + other.newer, self.aside + other.aside)


class Writer:
    """Writes batches into `cache`, and sets aside what it will not take.

    What is set aside is tried again when its key changes, and when the cache is filled anew; until
    then the cache has what it had.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._aside: dict[str, str] = {}

    @property
    def aside(self) -> MappingProxyType[str, str]:
        """The keys that are set aside now, each with the reason."""
        return MappingProxyType(self._aside)

    def write(self, batch: Batch) -> Outcome:
        """Write `batch`, at least what can be written.

        Raises what `Cache.write` raises, when that is no single value's fault.
        """
        try:
            outcome = Outcome(self._cache.write(batch))
        except _OF_A_VALUE as error:
            if not batch.changes or _of_the_server(error) or not self._takes_others(batch):
                raise
            outcome = self._write_apart(batch, batch.changes)
            self._cache.write(replace(batch, changes=()))  # the cursor, and the fence
        else:
            self._put_back(batch.changes)
        for row in batch.unread:
            self._set_aside(*row)
        return outcome + Outcome(0, aside=len(batch.unread))

    def _write_apart(self, batch: Batch, changes: Sequence[Any]) -> Outcome:
        """Write some of the batch's changes, in halves if not at once; the order within stays."""
        part = replace(batch, changes=changes, cursor=None, below=None, partial=True)
        if len(changes) == 1:
            return self._write_one(part)
        try:
            outcome = Outcome(self._cache.write(part))
        except _OF_A_VALUE:
            middle = len(changes) // 2
            return self._write_apart(batch, changes[:middle]) + self._write_apart(
                batch, changes[middle:]
            )
        self._put_back(changes)
        return outcome

    def _write_one(self, part: Batch) -> Outcome:
        (change,) = part.changes
        for attempt in range(1, ATTEMPTS + 1):
            try:
                outcome = Outcome(self._cache.write(part))
            except _OF_A_VALUE as error:
                if _of_the_server(error) or not self._takes_others(part):
                    raise
                if attempt == ATTEMPTS:
                    self._set_aside(change.key, getattr(change, "version", ""), first_line(error))
            else:
                self._put_back(part.changes)
                return outcome
        return Outcome(0, aside=1)

    def _takes_others(self, batch: Batch) -> bool:
        """Whether Redis, asked now, takes the batch without its values."""
        try:
            if batch.position is None:
                return self._answers()
            self._cache.write(replace(batch, changes=(), cursor=None, below=None, partial=True))
        except redis.RedisError:
            return False
        return True

    def _answers(self) -> bool:
        """Whether Redis says anything: a batch without a position is nothing without values."""
        with suppress(redis.ResponseError):
            self._cache.has_cursor()
        return True

    def _set_aside(self, key: str, version: str, reason: str) -> None:
        log.warning("%s is set aside: %s", self._cache.redis_key(key), reason)
        with suppress(redis.RedisError):  # for `audit`, which may be another process
            self._cache.set_aside(key, version, reason)
        self._aside.pop(key, None)
        self._aside[key] = reason
        if len(self._aside) > MOST_ASIDE:
            del self._aside[next(iter(self._aside))]

    def _put_back(self, changes: Sequence[Any]) -> None:
        """Forget the reasons of keys that have been written after all."""
        if self._aside:
            for change in changes:
                self._aside.pop(change.key, None)


def _of_the_server(error: Exception) -> bool:
    """Whether it would refuse any value now."""
    return isinstance(error, _OF_THE_SERVER) or bool(_CODE.match(str(error)))
