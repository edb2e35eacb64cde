"""The article's way: each notification carries the row, and is worth as much as it says.

A notification reaches those who listen at that moment and nobody else: what changes while the
session is closed is lost to this feed.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from reactive_demo.capture.schema import resolve
from reactive_demo.changes import Batch, State
from reactive_demo.errors import NotCapturedError
from reactive_demo.feeds.notifications import conflate, decode
from reactive_demo.feeds.queries import query
from reactive_demo.feeds.session import Session
from reactive_demo.options import Options
from reactive_demo.waiting import StopEvent

__all__ = ["NotifyFeed"]

log = logging.getLogger(__name__)


class NotifyFeed:
    """The changes of `table`, announced on `channel` as `sql/03_notify.sql` does for `profile`.

    The channel is `<table>_change` unless another is named, the key the table's primary key, of
    one column.
    """

    kind = leads_as = "notify"

    def __init__(
        self,
        database_url: str,
        table: str = "profile",
        *,
        channel: str | None = None,
        key_column: str | None = None,
        options: Options | None = None,
    ) -> None:
        self.database_url = database_url
        self.table = table
        self.channel = channel or f"{table}_change"
        self.key_column = key_column
        self.options = options or Options()

    def open(self) -> "NotifySession":
        """Connect and LISTEN."""
        return NotifySession(self)

    def __repr__(self) -> str:
        return f"NotifyFeed({self.table})"


class NotifySession(Session):
    """A connection that passes on what it hears."""

    def __init__(self, feed: NotifyFeed) -> None:
        super().__init__(feed.database_url, feed.table, feed.channel, feed.options)
        try:
            self._key_column = feed.key_column or _key_column(self.connection, feed.table)
        except BaseException:
            self.connection.close()
            raise

    def batches(
        self, cursor: str | None, stopping: StopEvent, *, fill: bool = True
    ) -> Iterator[Batch]:
        """Yield what came in together as one batch."""
        del cursor, fill
        yield Batch(State.LIVE)
        while not stopping.is_set():
            heard = self._hear(stopping, self.options.heartbeat)
            if not heard and not stopping.is_set():
                self.connection.execute("SELECT 1")
            yield self._batch(heard)

    def _batch(self, heard: Sequence[psycopg.Notify]) -> Batch:
        changes, undecodable = [], 0
        for notification in heard:
            try:
                changes.append(decode(notification.payload, self._key_column))
            except ValueError as error:
                log.warning("notification skipped: %s", error)
                undecodable += 1
        moments = [change.changed_at for change in changes if change.changed_at is not None]
        return Batch(
            State.LIVE,
            conflate(changes),
            received=len(changes),
            undecodable=undecodable,
            changed_at=min(moments, default=None),
        )


def _key_column(connection: "psycopg.Connection[Any]", table: str) -> str:
    """Return the one column of the table's primary key. Raises NotCapturedError without one."""
    found = connection.execute(query("key_column"), [resolve(connection, table)]).fetchone()
    if found is None:
        raise NotCapturedError(
            f"There is no table {table} with a primary key of one column: create it, or name the "
            "`key_column` of its notifications."
        )
    return str(found[0])
