"""NOTIFY: PostgreSQL sends each message to those who listen at its commit."""

import time
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.postgres import open_postgres
from reactive_demo.tutorial.brokers.broker import Broker, Reader

__all__ = ["Notify"]


class NotifyReader(Reader):
    """A connection that listens."""

    def __init__(self, url: str, topic: str) -> None:
        self._connection = open_postgres(url, "broker")
        self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(topic)))
        self._heard: list[str] = []

    def read(self, timeout: float = 1.0) -> str | None:
        """Return what was heard first."""
        deadline = time.monotonic() + timeout
        while not self._heard and (left := deadline - time.monotonic()) > 0:
            # The loop runs to its end: leaving it early would drop the rest of the packet.
            arrived = self._connection.notifies(timeout=left, stop_after=1)
            self._heard += [notification.payload for notification in arrived]
        return self._heard.pop(0) if self._heard else None

    def close(self) -> None:
        """Close the connection: nothing is kept for it."""
        self._connection.close()


class Notify(Broker):
    """PostgreSQL itself."""

    name = "NOTIFY"
    promise = "to those who listen now, with the commit"
    lost = (psycopg.OperationalError,)

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._connection: psycopg.Connection[Any] | None = None

    def publish(self, topic: str, body: str, key: str = "", transaction: Any = None) -> bool:
        """Notify, in the transaction if there is one."""
        del key
        if self._connection is None:
            self._connection = open_postgres(self.url, "broker")
        (transaction or self._connection).execute("SELECT pg_notify(%s, %s)", [topic, body])
        return True

    def subscribe(
        self, topic: str, name: str = "reader", share: tuple[int, int] = (0, 1)
    ) -> Reader:
        """Listen; PostgreSQL knows no names."""
        del name, share
        return NotifyReader(self.url, topic)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
