"""What is amiss with a cache that works: it is too small, or its account may not do everything.

A Redis that evicts any key evicts the lease too, once a fill has made it one of the oldest. After
two fills that were lost so, the cache is not filled any more: changes and read-through fill it.
"""

from collections.abc import Iterator
from contextlib import suppress

import redis

from reactive_demo.changes import Batch, Lease
from reactive_demo.feeds import Session
from reactive_demo.listener.stats import Recorder
from reactive_demo.sinks import Sink
from reactive_demo.waiting import StopEvent

__all__ = ["CacheHealth"]

LOST_FILLS = 2
"""Fills in a row that an evicting Redis may undo before it is taken to be too small."""


class CacheHealth:
    """Watches what a listener meets in `cache`."""

    def __init__(self, cache: Sink, recorder: Recorder) -> None:
        self._cache = cache
        self._recorder = recorder
        self._versioned = True
        self._limit = 0
        self._lost_fills = 0
        self._too_small = False
        self._unannounced = ""

    @property
    def notice(self) -> str:
        """What people should know although the listener is live."""
        too_small = (
            f"Redis evicts rows at {self._limit / 1e6:,.0f} MB (maxmemory), which is too small "
            "for the table: rows are cached as they change or are read through"
        )
        notices = (too_small if self._too_small else "", self._unannounced)
        return "; ".join(filter(None, notices))

    def batches(self, session: Session, lease: Lease | None, stop: StopEvent) -> Iterator[Batch]:
        """Yield the session's batches, and release the lead at their end, however that comes."""
        try:
            yield from self._batches(session, lease, stop)
        finally:
            self._cache.release()

    def _batches(self, session: Session, lease: Lease | None, stop: StopEvent) -> Iterator[Batch]:
        """Yield the batches; without a fill if the cache is too small for one."""
        self._versioned = lease is not None
        if lease is None or lease.cursor is not None:
            yield from session.batches(lease.cursor if lease else None, stop)
            return
        limit, evicted = self._cache.evictions()
        if limit != self._limit:  # there is more room now
            self._limit, self._lost_fills = limit, 0
        fill = not limit or self._lost_fills < LOST_FILLS
        self._too_small, filling = not fill, True
        self._lost_fills += fill
        for batch in session.batches(None, stop, fill=fill):
            yield batch
            if filling and batch.cursor is not None:
                filling = False
                self._lost_fills = 0 if fill else self._lost_fills
                self._too_small |= self._cache.evictions()[1] > evicted

    def note_unannounced(self, count: int) -> None:
        """Note how many changes of a batch were not published; the reason is asked for once."""
        if count:
            self._recorder.count(unannounced=count)
            self._unannounced = self._unannounced or (
                "changes are written and not announced: "
                + (self.missing_rights() or "the Redis account has no right to their channels")
            )
        else:
            self._unannounced = ""

    def missing_rights(self) -> str:
        """Say what the Redis account may not do, if that is known."""
        with suppress(redis.RedisError):
            if missing := self._cache.missing_rights(versioned=self._versioned):
                return str(missing)
        return ""
