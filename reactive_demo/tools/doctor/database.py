"""What the doctor examines in PostgreSQL: its version, whether LISTEN works, the schema."""

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.errors import first_line
from reactive_demo.postgres import open_postgres
from reactive_demo.tools.doctor.report import Line, State
from reactive_demo.tools.rights import lacking

__all__ = ["examine", "hears", "listening", "rights", "schema", "version"]

CONNECT_TIMEOUT = 3
"""Seconds to connect."""

LOOP_BACK_TIMEOUT = 2.0
"""Seconds that a notification may take to come back."""

OLDEST, TESTED = 14, 18

LISTEN = "LISTEN / NOTIFY"


def examine(url: str, kind: str, here: str) -> Iterator[Line]:
    """Yield the lines about the server at `url`; `kind` and `here` say whose and where it is."""
    try:
        with _connect(url) as connection, _connect(url) as second:
            yield version(connection.info.server_version, kind, here)
            yield _loop_back(connection, second)
            yield schema(connection)
            yield rights(lacking(connection, "profile"))
    except (psycopg.Error, ValueError) as error:  # ValueError: a host name that cannot be one
        yield away(error, here)


def away(error: Exception, here: str) -> Line:
    """Return the line for a server that does not answer, or no longer."""
    words = (
        f"does not answer ({first_line(error)}): start that server, correct DATABASE_URL, or "
        "unset it to use the embedded one."
    )
    return Line("PostgreSQL", State.MEND, words, here)


def version(number: int, kind: str, here: str = "") -> Line:
    """Return whether the server is new enough; `number` is libpq's, 180001 for 18.1."""
    shown = f"{number // 10000}.{number % 10000}"
    if number // 10000 < OLDEST:
        words = f"{shown}, {kind}; {OLDEST} or newer is needed: upgrade that server."
        return Line("PostgreSQL", State.MEND, words, here)
    note = "" if number // 10000 == TESTED else f"; {TESTED} is the tested version"
    return Line("PostgreSQL", State.OK, f"{shown}, {kind}{note}", here)


def hears(listener: psycopg.Connection, notifier: psycopg.Connection) -> bool:
    """Return whether `listener` hears what `notifier` sends, on a channel of their own."""
    channel = f"reactive_demo_doctor_{uuid.uuid4().hex}"
    listener.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
    notifier.execute("SELECT pg_catalog.pg_notify(%s, '')", [channel])
    heard = any(
        notification.channel == channel
        for notification in listener.notifies(timeout=LOOP_BACK_TIMEOUT, stop_after=1)
    )
    listener.execute(sql.SQL("UNLISTEN {}").format(sql.Identifier(channel)))
    return heard


def listening(*, heard: bool, pooled: bool) -> Line:
    """Return the line for the loop-back; `pooled` if the session is not the server's own."""
    if heard:
        words = "a notification came back" + (", through a pooler that keeps sessions" * pooled)
        return Line(LISTEN, State.OK, words)
    if pooled:
        words = (
            "nothing came back, because a pooler gives each transaction another session: let "
            "DATABASE_URL name PostgreSQL itself (the app may keep using the pooler)."
        )
        return Line(LISTEN, State.MEND, words)
    words = (
        f"nothing came back within {LOOP_BACK_TIMEOUT:g} s: let DATABASE_URL name the primary "
        "itself, without a proxy that sends connections to different servers."
    )
    return Line(LISTEN, State.MEND, words)


def replica() -> Line:
    """Return the line for a server in recovery."""
    words = (
        "this is a replica, which accepts neither LISTEN nor writes: let DATABASE_URL name the "
        "primary, or all hosts, of which the primary is found."
    )
    return Line(LISTEN, State.MEND, words)


def schema(connection: psycopg.Connection) -> Line:
    """Return whether the table `profile` exists and has a trigger of ours; either way is fine."""
    table, trigger = connection.execute(
        """
        SELECT pg_catalog.to_regclass('public.profile') IS NOT NULL, EXISTS (
            SELECT FROM pg_catalog.pg_trigger t
            JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
            JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
            WHERE t.tgrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('public.profile')
              AND t.tgenabled OPERATOR(pg_catalog.<>) 'D'
              AND n.nspname OPERATOR(pg_catalog.=) 'reactive')
        """
    ).fetchone() or (False, False)
    if trigger:
        return Line("schema", State.OK, "the table profile and its trigger are in place")
    missing = "the table profile exists, without a trigger" if table else "not there yet"
    return Line("schema", State.OK, f"{missing}; each notebook installs what it needs")


def rights(missing: list[str]) -> Line:
    """Return the line for the rights that a listener of `profile` needs and this account lacks."""
    if not missing:
        return Line("rights", State.OK, "all that a listener needs, as far as it is installed")
    words = f"to run a listener, this account needs GRANT {'; GRANT '.join(missing)}."
    return Line("rights", State.WARNING, words)


def _loop_back(connection: psycopg.Connection, second: psycopg.Connection) -> Line:
    recovering, pid = connection.execute(
        "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_backend_pid()"
    ).fetchone() or (False, 0)
    if recovering:
        return replica()
    try:
        # A pooler gives its clients process ids of its own.
        pooled = pid != connection.info.backend_pid
        return listening(heard=hears(connection, second), pooled=pooled)
    except psycopg.Error as error:
        words = f"refused ({first_line(error)}): let DATABASE_URL name PostgreSQL itself."
        return Line(LISTEN, State.MEND, words)


def _connect(url: str) -> psycopg.Connection:
    """Connect as it suits a pooler, to a replica if need be; what is said here is qualified."""
    options: dict[str, Any] = {
        "pinned": False,
        "connect_timeout": CONNECT_TIMEOUT,
        "prepare_threshold": None,
    }
    try:
        return open_postgres(url, "doctor", **options)
    except psycopg.OperationalError as error:
        if "hot standby" not in str(error):
            raise
        return open_postgres(url, "doctor", target_session_attrs="any", **options)
