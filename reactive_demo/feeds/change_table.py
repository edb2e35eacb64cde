"""The durable way: a table says what changed, the notification only rings the doorbell.

Nothing is lost while a listener is away: the session reads what it has not seen, by a cursor that
the cache keeps beside the data. The doorbell saves it the waiting; a slow poll is the guarantee.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from reactive_demo.changes import Batch, State
from reactive_demo.errors import NotCapturedError
from reactive_demo.feeds.cursor import Cursor
from reactive_demo.feeds.pruning import Pruning
from reactive_demo.feeds.rows import Rows, fill_batches, pack
from reactive_demo.feeds.session import Session
from reactive_demo.feeds.statements import Statements
from reactive_demo.feeds.table import SCHEMA_CHANGED, SETTINGS, capture_always, describe
from reactive_demo.options import Options
from reactive_demo.waiting import StopEvent

__all__ = ["ChangeTableFeed"]

CHANNEL = "reactive_change"


class ChangeTableFeed:
    """The changes of any captured table, from `reactive.change` (see `sql/04_change.sql`)."""

    kind = "change table"

    def __init__(
        self, database_url: str, table: str = "profile", *, options: Options | None = None
    ) -> None:
        self.database_url = database_url
        self.table = table
        self.options = options or Options()

    def open(self) -> "ChangeTableSession":
        """Connect and LISTEN. Raises NotCapturedError if the table is not captured."""
        return ChangeTableSession(self)

    def __repr__(self) -> str:
        return f"ChangeTableFeed({self.table})"


class ChangeTableSession(Session):
    """A connection that reads the change table, and sleeps armed when there is nothing to read."""

    def __init__(self, feed: ChangeTableFeed) -> None:
        super().__init__(feed.database_url, feed.table, CHANNEL, feed.options)
        try:
            table = describe(self.connection, feed.table)
            capture_always(self.connection, table.name)
            self.connection.execute(SETTINGS)
            idle = f"SET idle_session_timeout = '{3 * self.options.heartbeat:g}s'"
            self.connection.execute(idle.encode())
            self._statements = Statements(table, self.connection)
            self._incarnation = str(self._statements.one("incarnation")[0])
            self._rows = Rows(self._statements, self.options, self._check_unchanged)
            self._pruning = Pruning(self._statements, self.options)
        except BaseException:
            self.connection.close()
            raise
        self._cursor = Cursor("0:0:")

    def incarnation(self) -> str:
        """Return what a cursor belongs to: this server, timeline, database, capture and schema."""
        return self._incarnation

    def can_resume(self, cursor: str) -> bool:
        """Return whether no key that changed after `cursor` was pruned, and it is this server's."""
        pruned, snapshot = self._statements.one("now")
        now, kept = Cursor(snapshot), Cursor(cursor)
        known = int(pruned) < kept.xmin or int(pruned) >= now.xmax  # of another server
        return known and kept.xmax <= now.xmax

    def batches(
        self, cursor: str | None, stopping: StopEvent, *, fill: bool = True
    ) -> Iterator[Batch]:
        """Yield what changed after `cursor`, and then what changes, until `stopping`.

        Raises NotCapturedError when capture is taken off the table, or put on it anew.
        """
        try:
            if cursor is None:
                self._cursor = Cursor(self._statements.one("now")[1])
                if fill:
                    yield from self._fill()
                yield Batch(State.CATCHING_UP, evict_below="0", progress="removing what is gone")
                yield Batch(State.CATCHING_UP, cursor=self._cursor.snapshot)
            else:
                self._cursor = Cursor(cursor)
            yield from self._follow(stopping)
        except SCHEMA_CHANGED as error:
            raise NotCapturedError(f"The table was made anew ({error}).") from error

    def _fill(self) -> Iterator[Batch]:
        """Read the whole table, page by page, each row with the version that it has."""
        total = max(int(self._statements.one("estimate")[0]), 0)
        yield from fill_batches(self._rows.pages(), total, self.options)

    def _follow(self, stopping: StopEvent) -> Iterator[Batch]:
        """Read, arm the doorbell, read once more, sleep: `docs/architecture.md` has the proof."""
        options = self.options
        armed = woken = False
        wait, told, came = options.min_poll, time.monotonic(), time.monotonic()
        while not stopping.is_set():
            found = 0
            for batch in self._read():
                found += batch.rows or 1
                yield batch
            if found:
                told = came = time.monotonic()
            elif time.monotonic() - told < options.heartbeat:
                yield Batch(State.LIVE)
            else:  # a sign of life: is this still the leader, does Redis still hold the data,
                self._check_unchanged()  # and is the table what it was?
                yield Batch(State.LIVE, cursor=self._cursor.snapshot)
                told = time.monotonic()
            self._pruning.step(self._cursor.xmin)
            if armed and len(self._heard()) > woken:  # more than what woke it: there is much to do
                armed = self._disarm()
            elif armed:
                woken = self._sleep(stopping, options.heartbeat)
            elif found:
                stopping.wait(min(found * options.coalesce_delay, options.max_coalesce_delay))
                wait = options.min_poll
            elif self._arm():
                armed, woken = True, False  # and read once more: by a snapshot taken after arming
            else:  # a writer is at work that will not ring
                stopping.wait(wait)
                idle = time.monotonic() - came > 1
                wait = min(2 * wait, options.idle_poll if idle else options.max_poll)

    def _read(self) -> Iterator[Batch]:
        """Read what was not seen, and move on."""
        rows = self._rows.changes_since(self._cursor)
        first = next(rows, None)
        if first is None:
            raise self._statements.gone()
        key, *_, seen, truncated = first
        found = truncated is not None
        if found:
            yield Batch(State.LIVE, evict_below=truncated)
        for batch in pack(chain([first], rows) if key is not None else (), self.options):
            if batch.state is State.LIVE:  # the last one
                self._cursor = Cursor(seen)
                if found or batch.rows:
                    yield replace(batch, cursor=seen)
            else:
                found = True
                yield batch

    def _check_unchanged(self) -> None:
        self._statements.check_unchanged(self._incarnation)

    def _arm(self) -> bool:
        """Hold the bell, so that whatever is written from now on rings; not while a write runs."""
        return bool(self._statements.one("arm")[0])

    def _disarm(self) -> bool:
        self._statements.one("disarm")
        return False

    def _sleep(self, stopping: StopEvent, timeout: float) -> bool:
        """Wait for a ring, at most `timeout` seconds; the read that follows takes it in."""
        return stopping.wait_for_data(self.connection.fileno(), timeout)
