"""What changed in the database, as it happens: a feed opens sessions, a session yields changes.

    NotifyFeed    the article's way: the row travels in the notification

A notification reaches those who listen at that moment and nobody else: what changes while the
session is closed is lost to this feed.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from typing import Protocol, Self

import psycopg
from psycopg import sql

from reactive_demo.changes import Change, decode
from reactive_demo.stopping import StopEvent

__all__ = ["Feed", "NotifyFeed", "Session"]

log = logging.getLogger(__name__)

KEEPALIVE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""libpq's settings (s, s, s, probes, ms) that notice a peer which is gone without a word."""


class Session(Protocol):
    """An open connection of a feed. Its methods raise psycopg.Error when it is lost."""

    def lead(self, role: str) -> bool:
        """Try to become the leader of `role`; at most one session is."""

    def depose(self, role: str) -> None:
        """End the session that leads `role`, and be the next to lead."""

    def changes(self, stopping: StopEvent, timeout: float) -> Iterator[Change | None]:
        """Wait for changes, at most `timeout` seconds, and yield them in order of commit.

        A None stands for a notification that could not be read.
        """


class Feed(Protocol):
    """A source of changes of one table."""

    table: str

    def open(self) -> AbstractContextManager[Session]:
        """Connect. Every change that commits from now on is heard."""


class NotifyFeed:
    """The article's way: each notification carries the row, and is worth as much as it says.

    `channel` and `key_column` are those of `sql/03_notify.sql`.
    """

    def __init__(
        self,
        database_url: str,
        table: str = "profile",
        *,
        channel: str = "profile_change",
        key_column: str = "username",
    ) -> None:
        self.database_url = database_url
        self.table = table
        self.channel = channel
        self.key_column = key_column

    def open(self) -> "NotifySession":
        """Connect and LISTEN."""
        return NotifySession(self)

    def __repr__(self) -> str:
        return f"NotifyFeed({self.table})"


class NotifySession:
    """A connection of its own that listens: autocommit, so that LISTEN holds at once."""

    def __init__(self, feed: NotifyFeed) -> None:
        self.feed = feed
        self._connection = psycopg.connect(
            feed.database_url,
            autocommit=True,
            application_name=f"reactive_demo listen {feed.table}",
            **KEEPALIVE,  # type: ignore[arg-type]  # libpq takes numbers
        )
        try:
            self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(feed.channel)))
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def lead(self, role: str) -> bool:
        """Try the advisory lock of `role`: it goes with the connection, however that ends."""
        row = self._connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [role]
        ).fetchone()
        return bool(row and row[0])

    def depose(self, role: str) -> None:
        """Terminate the backend that holds the advisory lock of `role`, and be next in its queue.

        Who is deposed connects again at once: it must not find the lock free.
        """
        execute = self._connection.execute
        with suppress(psycopg.errors.LockNotAvailable), self._connection.transaction():
            execute("SET LOCAL lock_timeout = '1s'")
            execute(
                """
                SELECT pg_terminate_backend(pid)
                FROM pg_locks, hashtextextended(%s, 0) AS key
                WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND objsubid = 1
                  AND (classid::bigint << 32 | objid::bigint) = key
                """,
                [role],
            )
            execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [role])

    def changes(self, stopping: StopEvent, timeout: float) -> Iterator[Change | None]:
        """Yield what has been heard; ask the server for a sign of life if it is silent."""
        # What came in beside the answer to an earlier statement is already in psycopg's backlog:
        # wait for the socket only when there is nothing to read.
        heard = list(self._connection.notifies(timeout=0))
        if not heard:
            if stopping.wait_for_data(self._connection.fileno(), timeout):
                heard = list(self._connection.notifies(timeout=0))
            elif not stopping.is_set():
                self._connection.execute("SELECT 1")
        for notification in heard:
            try:
                yield decode(notification.payload, self.feed.key_column)
            except ValueError as error:
                log.warning("notification passed over: %s", error)
                yield None
