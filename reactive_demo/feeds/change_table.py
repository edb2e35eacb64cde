"""The durable way: a table says what changed, the notification only rings the doorbell.

Nothing is lost while a listener is away: the session reads what it has not seen, by a cursor that
the cache keeps beside the data. The doorbell saves it the waiting; a slow poll is the guarantee.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

from reactive_demo.changes import Batch, State
from reactive_demo.feeds.cursor import Cursor
from reactive_demo.feeds.pruning import Pruning
from reactive_demo.feeds.rows import KEPT_PLAN, fill_batches, pack
from reactive_demo.feeds.session import DurableFeed, DurableSession
from reactive_demo.feeds.statements import Statements
from reactive_demo.feeds.table import SETTINGS, capture_always, describe
from reactive_demo.hosts import at_host_of
from reactive_demo.postgres import open_postgres
from reactive_demo.waiting import StopEvent

__all__ = ["ChangeTableFeed"]

CHANNEL = "reactive_change"


class ChangeTableFeed(DurableFeed):
    """The changes of any captured table, from `reactive.change` (see `sql/04_change.sql`)."""

    kind = "change table"

    def open(self) -> "ChangeTableSession":
        """Connect and LISTEN. Raises NotCapturedError if the table is not captured."""
        return ChangeTableSession(self)


class ChangeTableSession(DurableSession):
    """A connection that reads the change table, and sleeps armed when there is nothing to read."""

    def __init__(self, feed: ChangeTableFeed) -> None:
        super().__init__(feed, CHANNEL, describe)
        capture_always(self.connection, self._table.name)
        self._feed = feed
        self._here = at_host_of(self.connection, feed.database_url)
        self._pruning = Pruning(self._connect_to_prune, self.options)
        self._cursor = Cursor("0:0:")

    def __exit__(self, *exc: object) -> None:
        self._pruning.close()
        super().__exit__(*exc)

    def can_resume(self, cursor: str) -> bool:
        """Return whether no key that changed after `cursor` was pruned, and it is this server's."""
        pruned, snapshot = self._statements.one("now")
        now, kept = Cursor(snapshot), Cursor(cursor)
        known = int(pruned) < kept.xmin or int(pruned) >= now.xmax  # of another server
        return known and kept.xmax <= now.xmax

    def _begin(self, stopping: StopEvent, *, fill: bool) -> Generator[Batch, None, str | None]:
        """Read the table page by page, each row with the version that it has."""
        del stopping
        snapshot = str(self._statements.one("now")[1])
        if fill:
            total = max(int(self._statements.one("estimate")[0]), 0)
            yield from fill_batches(self._rows.pages(), total, self.options)
        return snapshot

    def _follow(self, cursor: str, stopping: StopEvent) -> Iterator[Batch]:
        """Read, arm the doorbell, read once more, sleep: `docs/architecture.md` has the proof."""
        self._cursor = Cursor(cursor)
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
            self._pruning.below(self._cursor.xmin)
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

    def _arm(self) -> bool:
        """Hold the bell, so that whatever is written from now on rings; not while a write runs."""
        return bool(self._statements.one("arm")[0])

    def _disarm(self) -> bool:
        self._statements.one("disarm")
        return False

    def _sleep(self, stopping: StopEvent, timeout: float) -> bool:
        """Wait for a ring, at most `timeout` seconds; the read that follows takes it in."""
        return stopping.wait_for_data(self.connection.fileno(), timeout)

    @contextmanager
    def _connect_to_prune(self) -> Iterator[Statements]:
        """Connect to the same server once more. Raises NotCapturedError if the table differs."""
        with open_postgres(
            self._here,
            f"prune {self._feed.table}",
            connect_timeout=max(1, round(self.options.connect_timeout)),
            silence_timeout=self.options.silence_timeout,
        ) as connection:
            patience = f"SET lock_timeout = '{self.options.heartbeat:g}s'"
            connection.execute(f"{SETTINGS}; {KEPT_PLAN}; {patience}".encode())
            there = Statements(self._table, connection)
            there.check_unchanged(self._incarnation)
            yield there
