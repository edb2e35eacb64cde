"""What the doctor asks PostgreSQL: does it answer, does LISTEN hear, is the schema there."""

import uuid
from collections.abc import Iterator

import psycopg
from psycopg import sql

from reactive_demo.errors import first_line
from reactive_demo.tools.doctor.report import Line, State

__all__ = ["examine", "hears", "listening", "schema", "version"]

PATIENCE = 3
"""Seconds to connect."""

LOOP_BACK = 2.0
"""Seconds until a notification must have come back."""

OLDEST, TESTED = 14, 18

LISTEN = "LISTEN / NOTIFY"


def examine(url: str, kind: str, here: str) -> Iterator[Line]:
    """Yield the lines of the server at `url`; `kind` and `here` say whose and where it is."""
    try:
        with _connect(url) as connection, _connect(url) as second:
            yield version(connection.info.server_version, kind, here)
            yield _loop_back(connection, second)
            yield schema(connection)
    except (psycopg.Error, ValueError) as error:  # ValueError: what is no name of a host
        yield away(error, here)


def away(error: Exception, here: str) -> Line:
    """Words for a server that does not answer, or that answers no more."""
    words = (
        f"does not answer ({first_line(error)}): start that server, correct DATABASE_URL, or "
        "unset it to use the embedded one."
    )
    return Line("PostgreSQL", State.MEND, words, here)


def version(number: int, kind: str, here: str = "") -> Line:
    """Whether the server is new enough; `number` is as libpq has it, 180001 for 18.1."""
    shown = f"{number // 10000}.{number % 10000}"
    if number // 10000 < OLDEST:
        words = f"{shown}, {kind}; {OLDEST} or newer is needed: upgrade that server."
        return Line("PostgreSQL", State.MEND, words, here)
    note = "" if number // 10000 == TESTED else f"; {TESTED} is the one that was tested"
    return Line("PostgreSQL", State.OK, f"{shown}, {kind}{note}", here)


def hears(listener: psycopg.Connection, notifier: psycopg.Connection) -> bool:
    """Whether what `notifier` sends comes back on `listener`, on a channel nobody else has."""
    channel = f"reactive_demo_doctor_{uuid.uuid4().hex}"
    listener.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
    notifier.execute("SELECT pg_notify(%s, '')", [channel])
    heard = any(
        notification.channel == channel
        for notification in listener.notifies(timeout=LOOP_BACK, stop_after=1)
    )
    listener.execute(sql.SQL("UNLISTEN {}").format(sql.Identifier(channel)))
    return heard


def listening(*, heard: bool, pooled: bool) -> Line:
    """Words for the loop-back; `pooled` if the session is not the server's own."""
    if heard:
        words = "a notification came back" + (", through a pooler that keeps sessions" * pooled)
        return Line(LISTEN, State.OK, words)
    if pooled:
        words = (
            "nothing came back, since a pooler gives each transaction another session: let "
            "DATABASE_URL name PostgreSQL itself (the pooler can stay in front of the app)."
        )
        return Line(LISTEN, State.MEND, words)
    words = (
        f"nothing came back within {LOOP_BACK:g} s: let DATABASE_URL name the primary itself, "
        "without a proxy that leads connections to different servers."
    )
    return Line(LISTEN, State.MEND, words)


def replica() -> Line:
    """Words for a server in recovery."""
    words = (
        "this is a replica, which takes neither LISTEN nor writes: let DATABASE_URL name the "
        "primary (with several hosts, add target_session_attrs=read-write)."
    )
    return Line(LISTEN, State.MEND, words)


def schema(connection: psycopg.Connection) -> Line:
    """Whether the profile table is there, and a trigger of ours on it; either way is fine."""
    table, trigger = connection.execute(
        """
        SELECT to_regclass('public.profile') IS NOT NULL, EXISTS (
            SELECT FROM pg_trigger
            JOIN pg_proc ON pg_proc.oid = tgfoid
            WHERE tgrelid = to_regclass('public.profile') AND tgenabled <> 'D'
              AND pronamespace = to_regnamespace('reactive'))
        """
    ).fetchone() or (False, False)
    if trigger:
        return Line("schema", State.OK, "the table profile and its trigger are in place")
    missing = "the table profile is there, without a trigger" if table else "not there yet"
    return Line("schema", State.OK, f"{missing}; each notebook installs what it needs")


def _loop_back(connection: psycopg.Connection, second: psycopg.Connection) -> Line:
    recovering, pid = connection.execute(
        "SELECT pg_is_in_recovery(), pg_backend_pid()"
    ).fetchone() or (False, 0)
    if recovering:
        return replica()
    try:
        # A pooler gives its clients process ids that are no server's.
        pooled = pid != connection.info.backend_pid
        return listening(heard=hears(connection, second), pooled=pooled)
    except psycopg.Error as error:
        words = f"refused ({first_line(error)}): let DATABASE_URL name PostgreSQL itself."
        return Line(LISTEN, State.MEND, words)


def _connect(url: str) -> psycopg.Connection:
    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=PATIENCE,
        prepare_threshold=None,  # a pooler may not know prepared statements
        application_name="reactive_demo doctor",
    )
