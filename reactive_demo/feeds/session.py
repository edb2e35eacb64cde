"""What a feed is, and its sessions: connections that listen and yield batches of changes."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self

import psycopg
from psycopg import sql

from reactive_demo.changes import Batch
from reactive_demo.options import Options
from reactive_demo.postgres import open_postgres
from reactive_demo.waiting import StopEvent

__all__ = ["Feed", "Session"]


class Session:
    """A connection that listens on a channel, if any, until it is closed or lost.

    Its methods raise psycopg.OperationalError when the connection is lost.
    """

    on_notify: Callable[[Sequence[psycopg.Notify]], object] | None = None
    """Called with notifications as they are heard."""

    follower = ""
    """What it leads as: the name of the leader's lock, set once it leads."""

    def __init__(
        self, database_url: str, table: str, channel: str | None, options: Options
    ) -> None:
        self.options = options
        self.connection = open_postgres(
            database_url,
            f"listen {table}",
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


class Feed(Protocol):
    """A source of changes of one table."""

    kind: str
    """At most one listener leads for each kind, table and cache."""
    table: str
    options: Options

    def open(self) -> AbstractContextManager[Session]:
        """Connect; every change that commits from now on is heard."""
