"""What a feed is, and its sessions: connections that listen and yield batches of changes."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self

import psycopg
from psycopg import sql

from reactive_demo.changes import Batch, State
from reactive_demo.errors import NotCapturedError, first_line
from reactive_demo.feeds.rows import Rows
from reactive_demo.feeds.statements import Statements
from reactive_demo.feeds.table import SCHEMA_CHANGED, SETTINGS, CapturedTable
from reactive_demo.options import Options
from reactive_demo.postgres import open_postgres
from reactive_demo.waiting import StopEvent

__all__ = ["DurableFeed", "DurableSession", "Feed", "Session"]

EVICTING = 600.0
"""Seconds that a session may be idle while the cache removes rows: it looks at every one, some
hundred thousand a second."""


class Session:
    """A connection that listens on a channel, if any, until it is closed or lost.

    Its methods raise psycopg.OperationalError when the connection is lost.
    """

    on_notify: Callable[[Sequence[psycopg.Notify]], object] | None = None
    """Called with notifications as they are heard."""

    follower = ""
    """What it leads as: the name of the leader's lock, set once it leads."""

    retained_log: int | None = None
    """Bytes of the log that its slot retained at the last heartbeat, if it has one."""

    def __init__(self, database_url: str, name: str, channel: str | None, options: Options) -> None:
        self.options = options
        self.connection = open_postgres(
            database_url,
            f"listen {name}",
            connect_timeout=max(1, round(options.connect_timeout)),
            silence_timeout=options.silence_timeout,
        )
        if channel is None:
            return
        try:
            self.connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        except BaseException:
            self.connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.connection.close()

    def incarnation(self) -> str | None:
        """Return what a cursor belongs to: this server, timeline, database and capture.

        None for a feed without cursors, which starts where it is and writes without a lease.
        """
        return None

    def can_resume(self, cursor: str) -> bool:
        """Return whether everything after `cursor` can still be read."""
        del cursor
        return False

    def batches(
        self, cursor: str | None, stopping: StopEvent, *, fill: bool = True
    ) -> Iterator[Batch]:
        """Yield what changed after `cursor`, and then what changes, until `stopping`.

        Without a cursor, the whole table comes first, unless `fill` is false: then only what the
        cache holds from before is evicted. A batch must be in the cache before the next is asked
        for, unless it `may_overlap`: its cursor then counts as reached. Empty ones tell the state.
        """
        raise NotImplementedError

    def drain(self, stopping: StopEvent, seconds: float) -> None:
        """Discard notifications for that long: a standby must never block the server.

        Left unread, they would fill the socket; a backend that waits to send holds up others, and
        its database cannot be dropped.
        """
        deadline = time.monotonic() + seconds
        while not stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            self._hear(stopping, left)

    def _hear(self, stopping: StopEvent, timeout: float) -> list[psycopg.Notify]:
        """Wait for notifications, at most `timeout` seconds.

        What came in beside the answer to an earlier statement is in psycopg's backlog: the socket
        is waited for only when that is empty.
        """
        heard = self._heard()
        if not heard and stopping.wait_for_data(self.connection.fileno(), timeout):
            heard = self._heard()
        return heard

    def _heard(self) -> list[psycopg.Notify]:
        """Return the notifications that are there now."""
        heard = list(self.connection.notifies(timeout=0))
        if heard and self.on_notify is not None:
            self.on_notify(heard)
        return heard


class DurableSession(Session):
    """A session with a cursor: what commits while it is away is read once it is back."""

    def __init__(
        self,
        feed: "DurableFeed",
        channel: str | None,
        describe: Callable[["psycopg.Connection[Any]", str], CapturedTable],
        **statements: Any,
    ) -> None:
        name = feed.table if channel else f"{feed.table} by the {feed.kind}"
        super().__init__(feed.database_url, name, channel, feed.options)
        try:
            self._table = describe(self.connection, feed.table)
            self.connection.execute(SETTINGS.encode())
            self._may_be_idle(3 * self.options.heartbeat)
            self._statements = Statements(self._table, self.connection, **statements)
            self._incarnation = str(self._statements.one("incarnation")[0])
            self._rows = Rows(self._statements, self.options, self._check_unchanged)
        except BaseException:
            self.connection.close()
            raise

    def incarnation(self) -> str:
        """Return what a cursor belongs to: this server, timeline, database, capture and schema."""
        return self._incarnation

    def batches(
        self, cursor: str | None, stopping: StopEvent, *, fill: bool = True
    ) -> Iterator[Batch]:
        """Yield the same. Raises NotCapturedError when capture is taken off, or put on anew."""
        try:
            if cursor is None:
                cursor = yield from self._begin(stopping, fill=fill)
                if cursor is None:
                    return
                self._may_be_idle(EVICTING)
                yield Batch(State.CATCHING_UP, evict_below="0", progress="removing what is gone")
                self._may_be_idle(3 * self.options.heartbeat)
                self._check_unchanged()
                yield Batch(State.CATCHING_UP, cursor=cursor)
            yield from self._follow(cursor, stopping)
        except SCHEMA_CHANGED as error:
            raise NotCapturedError(f"The table was made anew ({first_line(error)}).") from error

    def _begin(self, stopping: StopEvent, *, fill: bool) -> Generator[Batch, None, str | None]:
        """Read the table, if it is to `fill`; return the cursor, or None if stopped meanwhile."""
        raise NotImplementedError

    def _follow(self, cursor: str, stopping: StopEvent) -> Iterator[Batch]:
        """Yield what changed after `cursor`, and then what changes, until `stopping`."""
        raise NotImplementedError

    def _may_be_idle(self, seconds: float) -> None:
        """Have the server end the session after so long: a frozen leader does not keep the lead."""
        self.connection.execute(f"SET idle_session_timeout = '{seconds:g}s'".encode())

    def _check_unchanged(self) -> None:
        self._statements.check_unchanged(self._incarnation)


class Feed(Protocol):
    """A source of changes of one table."""

    kind: str
    """How it learns of changes."""
    leads_as: str
    """At most one listener leads for each such name, table and cache."""
    table: str
    options: Options

    def open(self) -> AbstractContextManager[Session]:
        """Connect; every change that commits from now on is heard."""


class DurableFeed:
    """The changes of one table, none of which is lost."""

    kind: str
    leads_as = "change table"
    """The same for all, since they write the same rows: two that lead would fence each other."""

    def __init__(
        self, database_url: str, table: str = "profile", *, options: Options | None = None
    ) -> None:
        self.database_url = database_url
        self.table = table
        self.options = options or Options()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.table})"
