"""The SQL files in `sql/`, and what puts them into a database and takes them out again.

The files are the source: `psql -f` runs them as they are, the notebooks show what they run.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.resources import files

import psycopg
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from reactive_demo.capture.lock_waits import watched
from reactive_demo.capture.publication import publish, unpublish, unpublish_all
from reactive_demo.capture.schema import check_trust, missing_table, resolve
from reactive_demo.capture.slots import drop_slots, slots_of
from reactive_demo.errors import ConfigurationError, LockTimeoutError, RefusedError, first_line
from reactive_demo.postgres import open_postgres, unavailable

__all__ = [
    "CAPTURE",
    "LOG",
    "PROFILE",
    "captured_tables",
    "change_schema",
    "execute_files",
    "forget_slots",
    "install",
    "read_sql",
    "take_off",
    "uninstall",
]

PROFILE = ("01_profile.sql", "02_increment.sql")
CAPTURE = ("04_change.sql", "04_table.sql", "05_capture.sql", "05_upgrade.sql")
LOG = ("07_log.sql",)

LOCK_TIMEOUT = 0.5
"""Seconds to wait for the table's lock: all writers queue up behind an installation that waits.

Less than PostgreSQL's `deadlock_timeout`, so that in a deadlock it is never a writer who fails.
"""

LOCK_WAIT = 20.0
"""Seconds after which it is not tried again; between two attempts, the writers go on."""


def read_sql(name: str) -> str:
    """The text of `sql/NAME`."""
    return (files("reactive_demo.capture") / "sql" / name).read_text(encoding="utf-8")


def install(
    database_url: str,
    table: str = "profile",
    *,
    feed: str = "change table",
    exclude: Sequence[str] | None = None,
    lock_wait: float = LOCK_WAIT,
) -> None:
    """Put capture on `table`: from now on, its changes are in the change table.

    With `feed="log"`, they are published in PostgreSQL's log instead, for a LogFeed. Whichever was
    installed before is taken off. The table `profile` is made if it is absent, and the trigger of
    `sql/03_notify.sql` is dropped. Columns in `exclude` stay out of the cache; None leaves out what
    was left out before. Installing twice changes nothing.

    Raises ConfigurationError for another feed, UnavailableError, LockTimeoutError if the table
    stays locked for `lock_wait` seconds, and RefusedError if the database refuses, because the
    table is absent or has no primary key, for instance. Then nothing was changed.
    """
    if feed not in ("change table", "log"):
        raise ConfigurationError(f"There is no feed {feed!r}: use 'change table' or 'log'.")
    steps = [*(PROFILE if table == "profile" else ()), *CAPTURE, *(LOG if feed == "log" else ())]
    columns = None if exclude is None else list(exclude)
    was_published: list[str] = []

    def work(connection: psycopg.Connection) -> None:
        connection.execute("CREATE SCHEMA IF NOT EXISTS reactive")
        check_trust(connection)  # once more: somebody may have created it a moment ago
        execute_files(connection, steps)
        if table == "profile":
            _drop_notify_trigger(connection)
        name = _found(connection, table)
        if feed == "log":
            publish(connection, name, columns)
            uncapture(connection, name)
            return
        connection.execute("SELECT reactive.capture(%s::regclass, %s)", [name, columns])
        was_published[:] = [name] if unpublish(connection, name) else []

    change_schema(database_url, f"table {table}", work, lock_wait=lock_wait)
    for name in was_published:
        forget_slots(database_url, name)


def uninstall(database_url: str, table: str | None = None, *, lock_wait: float = LOCK_WAIT) -> None:
    """Take capture off `table`; without a table, off all, with every function of ours.

    The tables and their rows stay. Raises as `install` does.
    """
    change = partial(change_schema, database_url, lock_wait=lock_wait)
    # Each in a transaction of its own. A writer locks first the table, then the change table, and a
    # listener the other way round: one transaction that locked all of them would deadlock.
    for name in captured_tables(database_url, lock_wait=lock_wait) if table is None else [table]:
        change(f"table {name}", partial(take_off, table=name))
    if table is None:
        change("schema reactive", _drop_schema)
    forget_slots(database_url, table)


def take_off(connection: psycopg.Connection, table: str) -> None:
    """Take capture off the table, and drop its publication. `forget_slots` does the rest."""
    uncapture(connection, table)
    if (name := resolve(connection, table)) is not None:
        unpublish(connection, name)


def _drop_schema(connection: psycopg.Connection) -> None:
    unpublish_all(connection)
    connection.execute("DROP SCHEMA IF EXISTS reactive CASCADE")


def forget_slots(database_url: str, table: str | None) -> None:
    """Drop the slots that keep the log for `table`, or for any; no transaction can do that.

    Raises RefusedError if this account may not: the rest is done by then.
    """
    with _answering(database_url), open_postgres(database_url, "install") as connection:
        name = None if table is None else resolve(connection, table)
        if table is not None and name is None:
            return
        try:
            drop_slots(connection, name)
        except psycopg.errors.InsufficientPrivilege as error:
            slots = ", ".join(slot.name for slot in slots_of(connection, name))
            raise RefusedError(
                f"Nothing is published any more, but the slots {slots} still keep the log, and "
                f"this account may not drop them ({error.diag.message_primary}): have a superuser "
                "run `SELECT pg_drop_replication_slot(...)` for each, once no listener reads it."
            ) from None


def captured_tables(database_url: str, *, lock_wait: float = LOCK_WAIT) -> list[str]:
    """Return the captured and published tables that are still there. Raises as `install` does."""
    names: list[str] = []

    def work(connection: psycopg.Connection) -> None:
        found: set[str] = set()
        for catalog in ("reactive.captured", "reactive.published"):
            if _exists(connection, catalog):
                rows = connection.execute(_TABLES_OF.format(catalog).encode())
                found |= {name for (name,) in rows}
        names[:] = sorted(found)

    change_schema(database_url, "schema reactive", work, lock_wait=lock_wait)
    return names


def _drop_notify_trigger(connection: psycopg.Connection) -> None:
    """Drop the trigger of `sql/03_notify.sql`: with both, every write would pay for both."""
    if connection.execute(
        "SELECT FROM pg_trigger"
        " WHERE tgname = 'notify_profile' AND tgrelid = 'public.profile'::regclass"
    ).fetchall():  # to drop what is not there would take the table's lock as well
        connection.execute("DROP TRIGGER notify_profile ON public.profile")
        connection.execute("DROP FUNCTION IF EXISTS reactive.notify_profile")


def uncapture(connection: psycopg.Connection, table: str) -> None:
    """Take capture off, if it is on: else the table's lock would be taken for nothing."""
    if _exists(connection, "reactive.captured"):
        connection.execute(
            "SELECT reactive.uncapture(table_name::regclass) FROM reactive.captured"
            " WHERE table_name = %s",
            [_found(connection, table)],
        )


def _found(connection: psycopg.Connection, table: str) -> str:
    """Return the table's name, schema-qualified; raise RefusedError if there is none."""
    if (name := resolve(connection, table)) is None:
        raise RefusedError(missing_table(connection, table))
    return name


def _exists(connection: psycopg.Connection, relation: str) -> bool:
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [relation]).fetchone()
    return bool(found and found[0])


def execute_files(connection: psycopg.Connection, names: Sequence[str]) -> None:
    """Run some of the files in `sql/`."""
    connection.execute("\n".join(map(read_sql, names)).encode())


def change_schema(
    database_url: str,
    what: str,
    work: Callable[[psycopg.Connection], object],
    *,
    lock_wait: float = LOCK_WAIT,
) -> None:
    """Do `work` in one transaction, all or nothing; again, if a lock is not to be had."""
    blockers: list[str] = []
    retrying = Retrying(
        retry=retry_if_exception_type(_BUSY),
        wait=wait_random_exponential(multiplier=0.1, max=2),
        stop=stop_after_delay(lock_wait),
        reraise=True,
    )
    try:
        with _answering(database_url):
            retrying(_attempt, database_url, work, blockers)
    except _BUSY:
        by = f" by {', '.join(blockers)}" if blockers else ""
        raise LockTimeoutError(
            f"The {what} stayed locked for {lock_wait:g} s{by}, and was not changed: end that "
            "transaction and try again."
        ) from None


@contextmanager
def _answering(database_url: str) -> Iterator[None]:
    """Say what is wrong and what to do, in place of PostgreSQL's errors; not if it is busy."""
    try:
        yield
    except _BUSY:
        raise
    except psycopg.OperationalError as error:
        if error.sqlstate and not error.sqlstate.startswith("57P"):  # 57P: it is shutting down
            raise _refused(error) from None
        raise unavailable(database_url, error) from None
    except psycopg.Error as error:
        raise _refused(error) from None


def _refused(error: psycopg.Error) -> RefusedError:
    hint = (error.diag.message_hint or "").rstrip(".")
    reason = ". ".join(filter(None, [error.diag.message_primary or first_line(error), hint]))
    return RefusedError(f"The database refused ({reason}), and nothing in it was changed.")


def _attempt(
    database_url: str, work: Callable[[psycopg.Connection], object], blockers: list[str]
) -> None:
    """One transaction, one installation at a time."""
    with (
        open_postgres(database_url, "install", autocommit=False) as connection,
        watched(database_url, connection.info.backend_pid, blockers),
    ):
        connection.execute("SET LOCAL client_min_messages = warning")
        check_trust(connection)
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT:g}s'".encode())
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('reactive_demo', 0))")
        work(connection)


_BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
"""What passes when others end their transactions."""

_TABLES_OF = "SELECT table_name FROM {} WHERE to_regclass(table_name) IS NOT NULL"
