"""A session: a connection of its own that listens, and that may lead.

A feed opens sessions; a session yields batches of changes until it is lost or told to stop.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol, Self, cast

import psycopg
from psycopg import sql
from psycopg.abc import RV, PQGen

from reactive_demo.cache import Cache
from reactive_demo.changes import Batch
from reactive_demo.stopping import StopEvent

__all__ = ["Feed", "Session"]

KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""libpq's settings (s, s, s, probes, ms) that notice a peer which is gone without a word."""


SILENCE = 20.0
"""Seconds in which a server must say something more when it is asked: a peer's kernel, or a proxy,
may keep alive a connection behind which nobody is."""


class Patient(psycopg.Connection[Any]):
    """A connection that is closed when the server is silent for too long.

    Then, as with any lost connection, psycopg.OperationalError is raised.
    """

    def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
        """Wait for the server as psycopg does, but not for ever."""
        try:
            return super().wait(_within(SILENCE, gen), *args, **options)
        except SilentError:
            self.pgconn.finish()
            raise


class SilentError(psycopg.OperationalError):
    """The server was silent for too long."""


def _within(seconds: float, gen: PQGen[RV]) -> PQGen[RV]:
    """Pass on what `gen` waits for; raise SilentError when that takes too long."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise SilentError(f"the server was silent for {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as done:
        return cast("RV", done.value)


DEPOSE_ATTEMPTS = 10
"""How often a session tries to depose the leader before it stands by like others."""


class Session:
    """A connection that listens on a channel: autocommit, so that LISTEN holds at once.

    Its methods raise psycopg.OperationalError when the connection is lost.
    """

    onlooker: Callable[[Sequence[psycopg.Notify]], None] | None = None
    """Called with notifications as they are heard."""

    def __init__(self, database_url: str, table: str, channel: str) -> None:
        self._connection = Patient.connect(
            database_url,
            autocommit=True,
            target_session_attrs="primary",  # a standby cannot LISTEN
            application_name=f"reactive_demo listen {table}",
            **KEEPALIVE,
        )
        try:
            self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
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

        Who is deposed connects again at once, and must not find the lock free: so both go to the
        server as one message, and again if it was too late all the same.
        """
        statements = sql.SQL(
            """
            SELECT pg_terminate_backend(pid)
            FROM pg_locks, hashtextextended({role}, 0) AS key
            WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND objsubid = 1
              AND (classid::bigint << 32 | objid::bigint) = key;
            SELECT pg_advisory_lock(hashtextextended({role}, 0))
            """
        ).format(role=sql.Literal(role))
        for _ in range(DEPOSE_ATTEMPTS):
            with suppress(psycopg.errors.LockNotAvailable), self._connection.transaction():
                self._connection.execute("SET LOCAL lock_timeout = '500ms'")
                self._connection.execute(statements)
                return

    def heard(self, stopping: StopEvent, timeout: float) -> list[psycopg.Notify]:
        """Wait for notifications, at most `timeout` seconds.

        What came in beside the answer to an earlier statement is in psycopg's backlog: the socket
        is waited for only when that is empty.
        """
        heard = list(self._connection.notifies(timeout=0))
        if not heard and stopping.wait_for_data(self._connection.fileno(), timeout):
            heard = list(self._connection.notifies(timeout=0))
        return self._told(heard)

    def pass_over(self, stopping: StopEvent, seconds: float) -> None:
        """Take in what is said for that long, and forget it: it is not for who does not lead.

        Left unread, it would fill the socket and hold up the server, which may not drop a database
        while one of its backends waits to say something.
        """
        deadline = time.monotonic() + seconds
        while not stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            self.heard(stopping, left)

    def _told(self, heard: list[psycopg.Notify]) -> list[psycopg.Notify]:
        if heard and self.onlooker is not None:
            self.onlooker(heard)
        return heard

    def batches(self, cache: Cache, stopping: StopEvent) -> Iterator[Batch]:
        """Yield changes as `cache` should take them, until `stopping`; an empty batch now and then.

        Whoever iterates writes a batch before it asks for the next.
        """
        raise NotImplementedError


class Feed(Protocol):
    """A source of changes of one table."""

    kind: str
    """One listener leads for each kind, table and cache."""
    table: str

    def open(self) -> AbstractContextManager[Session]:
        """Connect. Every change that commits from now on is heard."""
