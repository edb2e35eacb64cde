"""Checks of chapter 03: the schema and its triggers.

A check that listens takes two connections: it writes through one and hears through the other,
and leaves neither a row nor an unheard message of its own behind.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from reactive_demo.errors import first_line
from reactive_demo.postgres import open_postgres
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until

__all__ = [
    "changed_columns_are_named",
    "increment_counts",
    "silence_without_change",
    "table_is_empty",
    "table_is_made",
    "trigger_announces",
    "waits_for",
]

Connection = psycopg.Connection[Any]

COLUMNS = ["username", "followings_count", "followers_count", "likes_count"]

PROBE = 'a "check" of the notebook\'s'
"""The checks' own profile; the quotes in its name test the payload."""

MESSAGES = "Look at `print(read_sql('03_notify.sql'))`, and run that file again"


def table_is_made(database_url: str) -> Verdict:
    """Check that the table of `01_profile.sql` is there, with its columns and primary key."""
    with _asking(database_url) as connection:
        if not _has(connection, "to_regclass('public.profile')"):
            raise CheckFailed(
                "The database has no table profile: run the cell that executes 01_profile.sql."
            )
        found = connection.execute(
            "SELECT attname, attnum = ANY (i.indkey) FROM pg_attribute "
            "LEFT JOIN pg_index i ON i.indrelid = attrelid AND i.indisprimary "
            "WHERE attrelid = 'public.profile'::regclass AND attnum > 0 AND NOT attisdropped"
        ).fetchall()
    if absent := [name for name in COLUMNS if name not in dict(found)]:
        raise CheckFailed(
            f"The table profile has no column {absent[0]}: DROP TABLE public.profile, and run the "
            "cell that executes 01_profile.sql."
        )
    if [name for name, in_key in found if in_key] != ["username"]:
        raise CheckFailed(
            "The primary key of profile is not username: DROP TABLE public.profile, and run the "
            "cell that executes 01_profile.sql."
        )
    return Verdict("the table is there: three counters, and username is its primary key")


def increment_counts(database_url: str) -> Verdict:
    """Check that `reactive.increment` creates a profile, counts, and refuses unknown counters."""
    with _asking(database_url) as connection, connection.transaction(force_rollback=True):
        if not _has(connection, "to_regprocedure('reactive.increment(text, text)')"):
            raise CheckFailed(
                "The database has no function reactive.increment: run the cell that executes "
                "02_increment.sql."
            )
        for _ in range(2):
            connection.execute("SELECT reactive.increment(%s, 'likes')", [PROBE])
        likes = connection.execute(
            "SELECT likes_count FROM public.profile WHERE username = %s", [PROBE]
        ).fetchone()
        if likes != (2,):
            raise CheckFailed(
                f"Two increments of a new profile gave {likes and likes[0]} likes: run the cell "
                "that executes 02_increment.sql again."
            )
        if not _refuses(connection, "SELECT reactive.increment('ada', 'shares')"):
            raise CheckFailed(
                "reactive.increment accepted a counter that does not exist: run the cell that "
                "executes 02_increment.sql again."
            )
    return Verdict("the first like makes the profile, the next counts, typos are refused")


def waits_for(waiting: Connection, holder: Connection) -> Verdict:
    """Check that a statement of `waiting`, in another thread, waits for `holder` to commit."""
    blocked = "SELECT 1 WHERE pg_backend_pid() = ANY (pg_blocking_pids(%s))"
    return until(
        "one write waits for the other to commit",
        lambda: holder.execute(blocked, [waiting.info.backend_pid]).fetchone(),
    )


def trigger_announces(db: Connection, ear: Connection) -> Verdict:
    """Check that `ear` hears of each INSERT, UPDATE and DELETE through `db`, as valid JSON."""
    with _probing(db, ear) as probe:
        if not _has(
            db,
            "(SELECT oid FROM pg_trigger WHERE tgname = 'notify_profile' "
            "AND tgrelid = to_regclass('public.profile') AND tgenabled <> 'D')",
        ):
            raise CheckFailed(
                "The table profile has no trigger notify_profile: run the cell that executes "
                "03_notify.sql."
            )
        for operation, likes, statement in probe.story():
            messages = probe.heard(statement)
            if not messages:
                raise CheckFailed(
                    f"The {operation} was not announced on the channel profile_change. {MESSAGES}."
                )
            row = messages[0].get("row") or {}
            if (messages[0].get("operation"), row.get("likes_count")) != (operation, likes):
                raise CheckFailed(
                    f"The {operation} of a row with {likes} likes was announced as {messages[0]}. "
                    f"{MESSAGES}."
                )
    return Verdict("INSERT, UPDATE and DELETE are announced, with the row as JSON")


def table_is_empty(db: Connection, ear: Connection) -> Verdict:
    """Check that the table is empty, and that no message about it is waiting to be heard."""
    with _answering():
        rows = db.execute("SELECT count(*) FROM public.profile").fetchone()
        if rows != (0,):
            raise CheckFailed(
                f"The table profile has {rows and rows[0]} rows: run the cell with the TRUNCATE."
            )
        ear.execute("SELECT")
        if payloads := [notification.payload for notification in ear.notifies(timeout=0)]:
            raise CheckFailed(
                f"Something was announced ({payloads[-1]}): run the cell with the TRUNCATE again."
            )
    return Verdict("the table is empty, and nobody was told")


def silence_without_change(db: Connection, ear: Connection) -> Verdict:
    """Check exercise 1: an UPDATE is announced only if it changed something."""
    with _probing(db, ear) as probe:
        for operation, _, statement in probe.story():
            if not (messages := probe.heard(statement)):
                raise CheckFailed(
                    f"The {operation} was not announced, and should be: does a WHEN condition or "
                    "an IF keep out too much, or is its trigger gone?"
                )
            if len(messages) > 1:
                raise CheckFailed(
                    f"One {operation} was announced {len(messages)} times: there are two triggers "
                    "for it. Remove one with DROP TRIGGER."
                )
            if operation != "DELETE" and probe.heard(probe.touch):
                raise CheckFailed(
                    "An UPDATE that changed nothing was announced. Does the trigger compare OLD.* "
                    "and NEW.*, and was the one that does not replaced or dropped?"
                )
    return Verdict("each change is announced once, and an empty UPDATE is not")


def changed_columns_are_named(db: Connection, ear: Connection) -> Verdict:
    """Check exercise 2: `changed` in the payload of an UPDATE lists the changed columns."""
    with _probing(db, ear) as probe:
        probe.heard(probe.insert)
        for statement, columns in (
            (probe.update, ["likes_count"]),
            (probe.follow, ["followers_count", "followings_count"]),
        ):
            messages = probe.heard(statement)
            if not messages:
                raise CheckFailed(f"An UPDATE of {' and '.join(columns)} was not announced.")
            if "changed" not in messages[0]:
                raise CheckFailed(
                    f"The payload of an UPDATE has the fields {', '.join(messages[0])} and no "
                    "`changed`: add it to the json_build_object of reactive.notify_profile."
                )
            changed = messages[0]["changed"]
            if not isinstance(changed, list) or sorted(map(str, changed)) != columns:
                raise CheckFailed(
                    f"After an UPDATE of {' and '.join(columns)}, `changed` should be "
                    f"{json.dumps(columns)}, and is {json.dumps(changed)}."
                )
    return Verdict("the payload of an UPDATE names the columns that changed, and no others")


class _Probe:
    """The checks' own profile, and what is announced about it."""

    insert = "INSERT INTO public.profile (username) VALUES (%s)"
    update = "UPDATE public.profile SET likes_count = likes_count + 1 WHERE username = %s"
    follow = (
        "UPDATE public.profile SET followers_count = followers_count + 1, "
        "followings_count = followings_count + 1 WHERE username = %s"
    )
    touch = "UPDATE public.profile SET likes_count = likes_count WHERE username = %s"
    delete = "DELETE FROM public.profile WHERE username = %s"

    def __init__(self, db: Connection, ear: Connection) -> None:
        self._db = db
        self._ear = ear

    def story(self) -> Iterator[tuple[str, int, str]]:
        """Yield the life of a row: operation, likes to be announced with it, statement."""
        yield "INSERT", 0, self.insert
        yield "UPDATE", 1, self.update
        yield "DELETE", 1, self.delete

    def heard(self, statement: str) -> list[dict[str, Any]]:
        """Execute the statement; return what was announced about the checks' own profile."""
        try:
            self._db.execute(statement.encode(), [PROBE])
        except psycopg.errors.DatabaseError as error:
            if isinstance(error, psycopg.OperationalError):
                raise
            operation = statement.partition(" ")[0]
            raise CheckFailed(
                f"{operation} fails: {error.diag.message_primary}. An error in a trigger makes the "
                "write fail: correct the trigger's function."
            ) from None
        messages = [_decoded(payload) for payload in self._payloads()]
        return [message for message in messages if _is_about_probe(message)]

    def clean(self) -> None:
        """Leave neither a row, unless the trigger insists, nor an unheard message."""
        with suppress(psycopg.DatabaseError):
            self._db.execute(self.delete.encode(), [PROBE])
        with suppress(psycopg.OperationalError):
            self._payloads()

    def _payloads(self) -> list[str]:
        self._ear.execute("SELECT")  # what was committed before this round trip has arrived
        return [
            notification.payload
            for notification in self._ear.notifies(timeout=0)
            if notification.channel == "profile_change"
        ]


@contextmanager
def _probing(db: Connection, ear: Connection) -> Iterator[_Probe]:
    """Give a probe on the reader's connections; raise CheckFailed if they do not serve."""
    with _answering():
        if not _has(db, "to_regclass('public.profile')"):
            raise CheckFailed(
                "The database has no table profile: run the cell that executes 01_profile.sql."
            )
        probe = _Probe(db, ear)
        probe.clean()
        ear.execute("LISTEN profile_change")  # again, which does no harm
        try:
            yield probe
        finally:
            probe.clean()


@contextmanager
def _asking(database_url: str) -> Iterator[Connection]:
    with _answering(), open_postgres(database_url, "check") as connection:
        yield connection


@contextmanager
def _answering() -> Iterator[None]:
    """Turn a connection's errors into failed checks that say what to do."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise CheckFailed(
            f"The database does not answer ({first_line(error)}): run the first cell of this "
            "chapter again, and then the steps after it."
        ) from None
    except psycopg.DatabaseError as error:
        raise CheckFailed(
            f"The database refuses ({error.diag.message_primary}): run the cells of this section "
            "again, from its title on."
        ) from None


def _has(connection: Connection, expression: str) -> bool:
    found = connection.execute(f"SELECT {expression} IS NOT NULL".encode()).fetchone()
    return bool(found and found[0])


def _refuses(connection: Connection, statement: str) -> bool:
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.errors.InvalidParameterValue:
        return True
    return False


def _decoded(payload: str) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        raise CheckFailed(
            f"The payload is not JSON: {payload}. Build it with json_build_object, which quotes "
            "whatever a name contains."
        ) from None


def _is_about_probe(message: Any) -> bool:
    return isinstance(message, dict) and (message.get("row") or {}).get("username") == PROBE
