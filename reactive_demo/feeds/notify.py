"""The article's way: each notification carries the row, and is worth as much as it says.

A notification reaches those who listen at that moment and nobody else: what changes while the
session is closed is lost to this feed.
"""

import logging
from collections.abc import Iterator

from reactive_demo.cache import Cache
from reactive_demo.changes import Batch, conflate, decode
from reactive_demo.feeds.session import Session
from reactive_demo.state import State
from reactive_demo.stopping import StopEvent

__all__ = ["NotifyFeed"]

log = logging.getLogger(__name__)

HEARTBEAT = 5.0
"""Seconds of silence after which the server is asked for a sign of life."""


class NotifyFeed:
    """The changes of `profile`, as `sql/03_notify.sql` announces them on `channel`."""

    kind = "notify"

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


class NotifySession(Session):
    """A connection that passes on what it hears."""

    def __init__(self, feed: NotifyFeed) -> None:
        super().__init__(feed.database_url, feed.table, feed.channel)
        self._key_column = feed.key_column

    def batches(self, cache: Cache, stopping: StopEvent) -> Iterator[Batch]:
        """Yield what came in together as one batch; the cache needs no preparation."""
        del cache
        yield Batch(State.LIVE)
        while not stopping.is_set():
            heard = self.heard(stopping, HEARTBEAT)
            if not heard and not stopping.is_set():
                self._connection.execute("SELECT 1")
            changes, unreadable = [], 0
            for notification in heard:
                try:
                    changes.append(decode(notification.payload, self._key_column))
                except ValueError as error:
                    log.warning("notification passed over: %s", error)
                    unreadable += 1
            yield Batch(State.LIVE, conflate(changes), received=len(changes), unreadable=unreadable)
