"""How this package opens PostgreSQL: on the primary, with limits to its patience."""

import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import psycopg
from psycopg.abc import RV, PQGen

from reactive_demo.errors import (
    BusyError,
    LockTimeoutError,
    ReadOnlyError,
    RefusedError,
    UnavailableError,
    first_line,
)
from reactive_demo.hosts import connect_to_any_of, hosts_in
from reactive_demo.urls import read_database_url, without_password

__all__ = ["PatientConnection", "SilentError", "open_postgres", "translated", "unavailable"]

CONNECT_TIMEOUT = 5
"""Seconds."""

SILENCE_TIMEOUT = 20.0
"""Seconds for which a server may be silent when it is asked something."""

KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""libpq's settings (s, s, probes, ms) that notice a peer which is gone without a word."""

SOONER: dict[str, Any] = {
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "tcp_user_timeout": 5_000,
}
"""The same where another host may have taken over."""


PIN = """
    SELECT pg_catalog.current_setting('search_path'),
           pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)
"""
"""From here on, an unqualified name is PostgreSQL's own, whatever others have created."""

SESSION = """
    SET client_encoding = 'UTF8'; SET quote_all_identifiers = off;
    SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET idle_session_timeout = 0; SET lock_timeout = 0;
    SET default_transaction_isolation = 'read committed';
    SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'
"""
"""What a role or a database may have set otherwise; transaction_timeout is new in PostgreSQL 17."""


class SilentError(psycopg.OperationalError):
    """The server was silent for too long."""


class PatientConnection(psycopg.Connection[Any]):
    """A connection with limits to its patience.

    A proxy, or a peer's kernel, may keep a connection alive behind which nobody is. After
    `silence_timeout` seconds without an answer it is closed and, as with any lost connection,
    psycopg.OperationalError is raised.
    """

    silence_timeout = SILENCE_TIMEOUT
    own_search_path = ""
    """The account's search_path, before the session's was pinned."""

    def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
        """Wait for the server as psycopg does, but not for ever."""
        try:
            return super().wait(_within(self.silence_timeout, gen), *args, **options)
        except SilentError:
            self.pgconn.finish()
            raise

    @property
    def usable(self) -> bool:
        """Whether it still answers: a server that restarted leaves dead connections.

        To ask each time would double the round trips; the end of a connection can be seen here.
        """
        if self.closed:
            return False
        try:
            if _has_news(self):
                self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def open_postgres(
    database_url: str,
    name: str,
    *,
    silence_timeout: float = SILENCE_TIMEOUT,
    pinned: bool = True,
    **options: Any,
) -> PatientConnection:
    """Connect to the primary as the application `reactive_demo NAME`, in autocommit mode.

    Of several hosts in the URL, to the newest primary, whichever are silent (see `hosts`).
    A `pinned` session resolves names in pg_catalog and has no time-outs; one that may belong to a
    pooler is not pinned, and must qualify what it says. Further options are libpq's and psycopg's.
    Raises psycopg.OperationalError within 5 s, and ConfigurationError for what is no URL.
    """
    database_url = read_database_url(database_url, "The database's URL")
    hosts = hosts_in(database_url)
    defaults: dict[str, Any] = {
        "autocommit": True,
        "connect_timeout": CONNECT_TIMEOUT,
        "target_session_attrs": "primary",
        "application_name": f"reactive_demo {name}",
        **KEEPALIVE,
        **(SOONER if hosts else {}),
    }
    options = {**defaults, **options}
    connect = partial(PatientConnection.connect, database_url, **options)
    connection = (
        connect_to_any_of(hosts, connect, options["connect_timeout"]) if hosts else connect()
    )
    connection.silence_timeout = silence_timeout
    if pinned:
        try:
            connection.own_search_path = connection.execute(PIN).fetchone()[0]  # type: ignore[index]
            connection.execute(SESSION)
        except BaseException:
            connection.close()
            raise
    return connection


def unavailable(database_url: str, error: psycopg.Error) -> UnavailableError:
    """Return the error to raise when that PostgreSQL cannot be reached."""
    return UnavailableError(
        f"PostgreSQL ({without_password(database_url)}) does not answer ({first_line(error)}): "
        "start that server, then try again."
    )


BUSY = ("40001", "40P01", "53300", "53400", "57014")
"""SQLSTATEs of what passes: a conflict, a deadlock, a statement that timed out."""


@contextmanager
def translated(database_url: str) -> Iterator[None]:
    """Raise the errors of `reactive_demo.errors` for what PostgreSQL says in the block."""
    try:
        yield
    except psycopg.errors.InvalidParameterValue as error:
        if not error.diag.message_hint:
            raise  # a row too long to be announced
        raise RefusedError(f"{error.diag.message_primary}: {error.diag.message_hint}") from None
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise ReadOnlyError(
            f"PostgreSQL takes no writes for now ({error.diag.message_primary}): a database that "
            "is read-only, or a standby; try again when that is over."
        ) from None
    except psycopg.errors.LockNotAvailable as error:
        raise LockTimeoutError(
            f"Another transaction holds the row ({error.diag.message_primary}): end that "
            "transaction, or try again."
        ) from None
    except psycopg.OperationalError as error:
        if error.sqlstate in BUSY:
            raise BusyError(
                f"PostgreSQL is busy ({error.diag.message_primary}): try again."
            ) from None
        if "hot standby" in str(error):
            raise ReadOnlyError(
                "PostgreSQL takes no writes for now, as it is a standby: try again once it is "
                "promoted, or name the primary in DATABASE_URL."
            ) from None
        if error.sqlstate and not error.sqlstate.startswith("57P"):
            raise  # it answered; 57P is a server that shuts down
        raise unavailable(database_url, error) from error


def _has_news(connection: PatientConnection) -> bool:
    """Return whether something arrived while the connection was idle: a notice, or its end."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(0))


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
