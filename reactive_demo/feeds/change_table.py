"""The durable way: a table says what changed, the notification only rings the bell.

Nothing is lost, whoever was away: the session reads what it has not seen, by a cursor that the
cache keeps beside the data. A ring saves it the waiting; a slow poll is the guarantee.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.cache import Cache
from reactive_demo.changes import Batch, Position
from reactive_demo.feeds.captured import REMADE, SETTINGS, NotCapturedError, describe
from reactive_demo.feeds.cursor import Cursor
from reactive_demo.feeds.rows import Rows, packed
from reactive_demo.feeds.session import Session
from reactive_demo.feeds.statements import Statements
from reactive_demo.state import State
from reactive_demo.stopping import StopEvent

__all__ = ["ChangeTableFeed", "NotCapturedError"]

log = logging.getLogger(__name__)

CHANNEL = "reactive_change"

HEARTBEAT = 2.0
"""Seconds a session sleeps at most: then it reads, whether or not somebody rang."""

FIRST_WAIT, LONGEST_WAIT, IDLE_WAIT = 0.001, 0.020, 0.300
"""Seconds between two reads while a writer who did not ring is still at work: doubled up to the
second, and after a second in which nothing came, up to the third."""

PACE, SLOWEST = 0.0001, 0.005
"""Seconds to wait for each change that was read, and at most, before the next read while many are
written: a read costs much, and each change in it little."""

PRUNE_EVERY = 3600.0
"""Seconds between two looks for keys that were deleted long ago."""

KEPT_FOR = "1 day"
"""How long the change table remembers a deleted key: a cache that was away for longer is filled."""

PRUNE_SPAN, PRUNE_PAUSE = 2_000, 0.1
"""Keys that are looked at together for that, and the seconds before the next ones, at least."""


class ChangeTableFeed:
    """The changes of any captured table, from `reactive.change` (see `sql/04_change.sql`)."""

    kind = "change table"

    def __init__(self, database_url: str, table: str = "profile") -> None:
        self.database_url = database_url
        self.table = table

    def open(self) -> "ChangeTableSession":
        """Connect and LISTEN. Raises NotCapturedError if the table is not captured."""
        return ChangeTableSession(self)

    def __repr__(self) -> str:
        return f"ChangeTableFeed({self.table})"


class ChangeTableSession(Session):
    """A connection that reads the change table, and sleeps armed when there is nothing to read."""

    def __init__(self, feed: ChangeTableFeed) -> None:
        super().__init__(feed.database_url, feed.table, CHANNEL)
        try:
            self._table = describe(self._connection, feed.table)
            self._connection.execute(SETTINGS)
            self._connection.execute(f"SET idle_session_timeout = '{3 * HEARTBEAT:g}s'".encode())
            self._statements = Statements(self._table)
            self._rows = Rows(self._connection, self._statements)
        except BaseException:
            self._connection.close()
            raise
        self._cursor = Cursor("0:0:")
        self._prune_at, self._pruned_to = 0.0, ""

    def batches(self, cache: Cache, stopping: StopEvent) -> Iterator[Batch]:
        """Yield what the cache does not have yet, then what changes, until `stopping`.

        Raises NotCapturedError when capture is taken off the table, or put on it anew.
        """
        number = 0
        try:
            position, filled = self._position(cache)
            for batch in self._follow(position, stopping, filled=filled):
                number += batch.position is not None
                yield replace(batch, number=number)
        except REMADE as error:
            raise NotCapturedError(f"The table was made anew ({error}).") from error

    def _follow(self, position: Position, stopping: StopEvent, *, filled: bool) -> Iterator[Batch]:
        if not filled:
            yield from self._fill(position)
        armed = woken = False
        wait, said, came = FIRST_WAIT, time.monotonic(), time.monotonic()
        while not stopping.is_set():
            found = 0
            for batch in self._read(position):
                found += len(batch.changes) + len(batch.unread) or 1
                yield batch
            if found:
                said = came = time.monotonic()
            elif time.monotonic() - said < HEARTBEAT:
                yield Batch(State.LIVE)
            else:  # a sign of life: is this still the leader, does Redis still hold the data,
                self._one(self._statements.incarnation)  # and the table its trigger?
                yield Batch(State.LIVE, position=position, cursor=self._cursor.snapshot)
                said = time.monotonic()
            self._prune()
            if armed and self._rings() > woken:  # more than what woke it: there is much to do
                armed = self._disarm()
            elif armed:
                woken = self._sleep(stopping, PRUNE_PAUSE if self._pruned_to else HEARTBEAT)
            elif found:
                stopping.wait(min(found * PACE, SLOWEST))
                wait = FIRST_WAIT
            elif self._arm():
                armed, woken = True, False  # and read once more: by a snapshot taken after arming
            else:  # a writer is at work who will not ring
                stopping.wait(wait)
                idle = time.monotonic() - came > 1
                wait = min(2 * wait, IDLE_WAIT if idle else LONGEST_WAIT)

    # Reading

    def _position(self, cache: Cache) -> tuple[Position, bool]:
        """Take the lead in the cache; whether its cursor can be followed from where it is."""
        (incarnation,) = self._one(self._statements.incarnation)
        position = cache.take_over(incarnation)
        pruned, snapshot = self._one(self._statements.now)
        now = Cursor(snapshot)
        if position.cursor is not None:
            kept = Cursor(position.cursor)
            known = int(pruned) < kept.xmin or int(pruned) >= now.xmax  # of another server
            if known and kept.xmax <= now.xmax:
                self._cursor = kept
                return position, True
        # There is none, its changes have been pruned, or the database is older than the cache.
        self._cursor = now
        return cache.take_over(incarnation, anew=True), False

    def _fill(self, position: Position) -> Iterator[Batch]:
        """Read the whole table, page by page, each row with the version that it has."""
        count = 0
        total = max(int(self._one(self._statements.estimate)[0]), 0)
        for page in self._rows.pages():
            for batch in packed(page, position):
                if not batch.changes and not batch.unread:
                    continue  # the page was full
                count += len(batch.changes) + len(batch.unread)
                note = f"filling the cache, {count:,} of about {max(total, count):,}"
                yield replace(batch, state=State.CATCHING_UP, note=note)
        yield Batch(State.CATCHING_UP, position=position, below="0", note="removing what is gone")
        yield Batch(State.CATCHING_UP, position=position, cursor=self._cursor.snapshot)

    def _read(self, position: Position) -> Iterator[Batch]:
        """Read what was not seen, and move on."""
        rows = self._rows.unseen(self._cursor)
        first = next(rows, None)
        if first is None:
            raise self._gone()
        key, *_, seen, truncated = first
        found = truncated is not None
        if found:
            yield Batch(State.LIVE, position=position, below=truncated)
        for batch in packed(chain([first], rows) if key is not None else (), position):
            if batch.state is State.LIVE:  # the last one
                self._cursor = Cursor(seen)
                batch = replace(batch, cursor=seen)  # noqa: PLW2901
            if found or batch.changes or batch.unread:
                found = True
                yield batch

    def _prune(self) -> None:
        """Forget keys that were deleted long ago: their rows in the change table are of no use.

        Only what this session has seen is taken. Another one, of a cache that was away, meets the
        number of the last transaction so forgotten, and fills its cache. The table may be large, so
        a part of it is looked at, and soon the next.
        """
        if time.monotonic() < self._prune_at:
            return
        span = {"first": self._pruned_to, "some": PRUNE_SPAN}
        last, count = self._one(self._statements.span, span)
        limits = {"xmin": str(self._cursor.xmin), "kept_for": KEPT_FOR, "last": last}
        try:
            self._connection.execute(
                self._statements.prune, {**self._table.parameters, **span, **limits}
            )
        except psycopg.errors.InsufficientPrivilege as error:
            log.info("deleted keys stay in the change table: %s", error.diag.message_primary)
            count = 0
        ended = count < PRUNE_SPAN
        self._pruned_to = "" if ended else last
        self._prune_at = time.monotonic() + (PRUNE_EVERY if ended else PRUNE_PAUSE)

    # Sleeping

    def _arm(self) -> bool:
        """Hold the bell, so that whoever writes from now on rings; not while one is writing."""
        return bool(self._one(self._statements.arm)[0])

    def _disarm(self) -> bool:
        self._one(self._statements.disarm)
        return False

    def _rings(self) -> int:
        """How often somebody rang since it was asked last."""
        return len(self._told(list(self._connection.notifies(timeout=0))))

    def _sleep(self, stopping: StopEvent, timeout: float) -> bool:
        """Wait for a ring, at most `timeout` seconds; the read that follows takes it in."""
        return stopping.wait_for_data(self._connection.fileno(), timeout)

    def _one(self, statement: sql.Composed, more: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """The one row that a statement returns; there is none once the table is not captured."""
        found = self._connection.execute(statement, {**self._table.parameters, **more}).fetchone()
        if found is None:
            raise self._gone()
        return found

    def _gone(self) -> NotCapturedError:
        return NotCapturedError(f"Capture was taken off {self._table.name}, or put on it anew.")
