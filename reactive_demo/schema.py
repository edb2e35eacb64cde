"""The SQL files in `sql/`, and what puts them into a database and takes them out again.

The files are the source: `psql -f` runs them as they are, the notebooks show what they run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files

import psycopg

from reactive_demo.errors import ReactiveDemoError

__all__ = ["install", "install_article", "install_bare", "read_sql", "uninstall"]

PROFILE = ("01_profile.sql", "02_increment.sql")
ARTICLE = ("03_notify.sql",)
CAPTURE = ("04_change.sql", "05_capture.sql")
BEHIND = ("06_write_behind.sql",)
STEPS = (*PROFILE, *ARTICLE, *CAPTURE, *BEHIND)

LOCK_TIMEOUT = "5s"
"""How long to wait for the table's lock: whoever waits for it holds up all writers behind it."""


def read_sql(name: str) -> str:
    """The text of `sql/NAME`."""
    return (files("reactive_demo") / "sql" / name).read_text(encoding="utf-8")


def install(database_url: str, table: str = "profile", *, exclude: Sequence[str] = ()) -> None:
    """Put capture on `table`: from now on, its changes are in the change table.

    The table `profile` is made if it is absent, and the article's trigger is taken off it. Columns
    in `exclude` stay out of the cache. Installing twice changes nothing. Raises ReactiveDemoError
    when the table is absent or has no primary key, stays locked, or the database refuses.
    """
    steps = [*PROFILE, *CAPTURE] if table == "profile" else CAPTURE
    with _installing(database_url, table) as connection:
        _execute_files(connection, steps)
        if table == "profile":
            _remove_article(connection)
        connection.execute("SELECT reactive.capture(%s::regclass, %s)", [table, list(exclude)])


def install_article(database_url: str) -> None:
    """Put the article's trigger on the table `profile`, and take capture off it.

    The table is made if it is absent. Raises ReactiveDemoError as `install` does.
    """
    with _installing(database_url) as connection:
        _execute_files(connection, [*PROFILE, *ARTICLE])
        _release(connection, "public.profile")


def install_bare(database_url: str) -> None:
    """Make the table `profile` if it is absent, and what the consumers of write-behind need.

    No trigger is put on it. Raises ReactiveDemoError as `install` does.
    """
    with _installing(database_url) as connection:
        _execute_files(connection, [*PROFILE, *BEHIND])


def uninstall(database_url: str, table: str | None = None) -> None:
    """Take capture off `table`; without a table, off all, with every function of ours.

    The tables and their rows stay.
    """
    with _installing(database_url, table) as connection:
        if table is not None:
            _release(connection, table)
            return
        if _exists(connection, "reactive.captured"):
            connection.execute(
                "SELECT reactive.release(to_regclass(table_name)) FROM reactive.captured"
                " WHERE to_regclass(table_name) IS NOT NULL"
            )
        connection.execute("DROP SCHEMA IF EXISTS reactive CASCADE")


def _remove_article(connection: psycopg.Connection) -> None:
    """Take the article's trigger off: with both, every write would pay for both."""
    if connection.execute(
        "SELECT FROM pg_trigger"
        " WHERE tgname = 'notify_profile' AND tgrelid = 'public.profile'::regclass"
    ).fetchall():  # to drop what is not there would take the table's lock as well
        connection.execute("DROP TRIGGER notify_profile ON public.profile")
        connection.execute("DROP FUNCTION IF EXISTS reactive.notify_profile")


def _release(connection: psycopg.Connection, table: str) -> None:
    if _exists(connection, "reactive.captured"):
        connection.execute("SELECT reactive.release(%s::regclass)", [table])


def _exists(connection: psycopg.Connection, relation: str) -> bool:
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [relation]).fetchone()
    return bool(found and found[0])


def _execute_files(connection: psycopg.Connection, names: Sequence[str]) -> None:
    connection.execute("\n".join(map(read_sql, names)).encode())


@contextmanager
def _installing(database_url: str, table: str | None = "profile") -> Iterator[psycopg.Connection]:
    """One transaction, one installation at a time, all or nothing."""
    try:
        with psycopg.connect(database_url, connect_timeout=5) as connection:
            connection.execute("SET LOCAL client_min_messages = warning")
            connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('reactive_demo', 0))")
            yield connection
    except psycopg.errors.LockNotAvailable:
        raise ReactiveDemoError(
            f"The table {table or 'profile'} stayed locked for {LOCK_TIMEOUT}: end the transaction "
            "that uses it (pg_stat_activity shows it) and try again."
        ) from None
    except psycopg.Error as error:
        reason = " ".join(filter(None, [error.diag.message_primary, error.diag.message_hint]))
        reason = reason or str(error).strip().partition("\n")[0]
        raise ReactiveDemoError(
            f"The database refused ({reason}), and nothing in it was changed."
        ) from None
