"""Quarantine: one value that cannot be written does not hold up the others.

Nor does a row that PostgreSQL could not show.

Redis closes the connection at a value that is too large for it (`proto-max-bulk-len`), which looks
as if it were away, for ever; and an account may have no right to a key. So whatever fails is tried
again in halves, down to single values, unless it is the server's fault: it says so itself (it is
busy, full, read-only), it does not take a batch without values either, or the account may not run
a command.
"""

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import redis
from redis import exceptions

from reactive_demo.changes import Batch, Lease, State
from reactive_demo.errors import FencedError, ReactiveDemoError, first_line
from reactive_demo.redis_cache.quarantine_records import MAX_QUARANTINED
from reactive_demo.sinks import Sink

__all__ = ["Outcome", "Quarantine"]

log = logging.getLogger(__name__)

ATTEMPTS = 2
"""How often a single value is tried, with a sign of life from Redis after each failure."""

_OF_A_VALUE = (redis.ConnectionError, redis.ResponseError, redis.DataError)
_OF_THE_SERVER = (
    redis.OutOfMemoryError,
    redis.ReadOnlyError,
    redis.BusyLoadingError,
    redis.AuthenticationError,
    exceptions.NoScriptError,
    exceptions.MaxConnectionsError,
    exceptions.AskError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.ClusterCrossSlotError,
    exceptions.MasterDownError,
)
_CODE = re.compile(r"(?:.* caused error: )?[A-Z]{2,} ")
"""A code such as MISCONF tells of the server's state: redis-py strips those of a command."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch."""

    newer: int
    """Rows newer than what the cache held."""
    quarantined: int = 0
    """Rows that were put into quarantine."""

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(self.newer + other.newer, self.quarantined + other.quarantined)


class Quarantine:
    """Writes batches into `cache`, and isolates the rows that it will not take.

    An isolated row is tried again when its key changes, and when the cache is filled anew; until
    then the cache has what it had.
    """

    def __init__(self, cache: Sink) -> None:
        self._cache = cache
        self._reasons: dict[str, str] = {}

    @property
    def reasons(self) -> MappingProxyType[str, str]:
        """The keys in quarantine, each with the reason."""
        return MappingProxyType(self._reasons)

    def write(self, batch: Batch, lease: Lease | None) -> Outcome:
        """Write `batch`, at least what can be written.

        Raises what `Cache.write` raises, when that is no single value's fault.
        """
        try:
            outcome = Outcome(self._cache.write(batch, lease))
        except Exception as error:
            if not batch.changes or not self._is_of_a_value(error, lease):
                raise
            outcome = self._write_apart(batch, lease, batch.changes)
            self._cache.write(replace(batch, changes=()), lease)  # the cursor, and the sequence
        else:
            self._release(batch.changes)
        return outcome + self._isolate_unreadable(batch)

    def begin(self, batch: Batch, lease: Lease) -> Callable[[], Outcome]:
        """Send a batch that `may_overlap`; return what waits for it, and does as `write`.

        A batch that is not taken at once is written again, with all care.
        """
        try:
            finish_write = self._cache.begin_write(batch, lease)
        except Exception:  # noqa: BLE001 - `write` raises it again
            return lambda: self.write(batch, lease)

        def finish() -> Outcome:
            try:
                outcome = Outcome(finish_write())
            except FencedError:
                raise
            except Exception:  # noqa: BLE001
                return self.write(batch, lease)
            self._release(batch.changes)
            return outcome + self._isolate_unreadable(batch)

        return finish

    def _isolate_unreadable(self, batch: Batch) -> Outcome:
        for row in batch.unreadable_rows:
            self._isolate(*row)
        return Outcome(0, quarantined=len(batch.unreadable_rows))

    def _write_apart(self, batch: Batch, lease: Lease | None, changes: Sequence[Any]) -> Outcome:
        """Write some of the batch's changes, in halves if not at once; the order within stays."""
        part = Batch(batch.state, changes)
        if len(changes) == 1:
            return self._write_one(part, lease)
        try:
            outcome = Outcome(self._cache.write(part, lease, partial=True))
        except Exception as error:
            if not _may_be_of_a_value(error):
                raise
            middle = len(changes) // 2
            return self._write_apart(batch, lease, changes[:middle]) + self._write_apart(
                batch, lease, changes[middle:]
            )
        self._release(changes)
        return outcome

    def _write_one(self, part: Batch, lease: Lease | None) -> Outcome:
        (change,) = part.changes
        for attempt in range(1, ATTEMPTS + 1):
            try:
                outcome = Outcome(self._cache.write(part, lease, partial=True))
            except Exception as error:
                if not self._is_of_a_value(error, lease):
                    raise
                if attempt == ATTEMPTS:
                    reason = first_line(error) or type(error).__name__
                    self._isolate(change.key, getattr(change, "version", ""), reason)
            else:
                self._release(part.changes)
                return outcome
        return Outcome(0, quarantined=1)

    def _is_of_a_value(self, error: Exception, lease: Lease | None) -> bool:
        """Return whether a value is at fault, now that a batch was refused."""
        if not _may_be_of_a_value(error) or not self._takes_others(lease):
            return False
        refused = isinstance(error, redis.ResponseError)
        return not (refused and self._cache.missing_rights(versioned=lease is not None).hinders)

    def _takes_others(self, lease: Lease | None) -> bool:
        """Return whether Redis, asked now, takes a batch without values."""
        try:
            if lease is None:
                return self._answers()
            self._cache.write(Batch(State.LIVE), lease, partial=True)
        except redis.RedisError:
            return False
        return True

    def _answers(self) -> bool:
        """Return whether Redis answers at all: without a lease, no values is nothing to write."""
        with suppress(redis.ResponseError):
            self._cache.has_cursor()
        return True

    def _isolate(self, key: str, version: str, reason: str) -> None:
        log.warning("%s:%s is in quarantine: %s", self._cache.table, key, reason)
        with suppress(redis.RedisError):  # for `audit`, which may be another process
            self._cache.quarantine_records.add(key, version, reason)
        self._reasons.pop(key, None)
        self._reasons[key] = reason
        if len(self._reasons) > MAX_QUARANTINED:
            del self._reasons[next(iter(self._reasons))]

    def _release(self, changes: Sequence[Any]) -> None:
        """Forget the reasons of keys that have been written after all."""
        if self._reasons:
            for change in changes:
                self._reasons.pop(change.key, None)


def _may_be_of_a_value(error: Exception) -> bool:
    """Return whether another value might be written now: Redis does not say the contrary."""
    if isinstance(error, redis.RedisError):
        of_the_server = isinstance(error, _OF_THE_SERVER) or _CODE.match(str(error))
        return isinstance(error, _OF_A_VALUE) and not of_the_server
    return not isinstance(error, ReactiveDemoError | OSError | MemoryError)
