"""The SQL files in `sql/`, and what puts them into a database and takes them out again.

The files are the source: `psql -f` runs them as they are, the notebooks show what they run.
"""

from importlib.resources import files

import psycopg

from reactive_demo.errors import ReactiveDemoError

__all__ = ["install", "read_sql", "uninstall"]

STEPS = ("01_profile.sql", "02_increment.sql", "03_notify.sql")

LOCK_TIMEOUT = "5s"
"""How long to wait for the table's lock: whoever waits for it holds up all writers behind it."""


def read_sql(name: str) -> str:
    """The text of `sql/NAME`."""
    return (files("reactive_demo") / "sql" / name).read_text(encoding="utf-8")


def install(database_url: str) -> None:
    """Make the profile table if it is absent, its increment function and the article's trigger.

    Installing twice changes nothing. Raises ReactiveDemoError when the table stays locked, or
    the database refuses.
    """
    _run("\n".join(map(read_sql, STEPS)), database_url)


def uninstall(database_url: str) -> None:
    """Take the trigger and the functions off; the table and its rows stay."""
    _run("DROP SCHEMA IF EXISTS reactive CASCADE", database_url)


def _run(statements: str, database_url: str) -> None:
    """Run `statements` in one transaction, one installation at a time."""
    try:
        with psycopg.connect(database_url, connect_timeout=5) as connection:
            connection.execute("SET LOCAL client_min_messages = warning")
            connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('reactive_demo', 0))")
            connection.execute(statements.encode())
    except psycopg.errors.LockNotAvailable:
        raise ReactiveDemoError(
            f"The table profile stayed locked for {LOCK_TIMEOUT}: end the transaction that uses it "
            "(pg_stat_activity shows it) and try again."
        ) from None
    except psycopg.Error as error:
        reason = str(error).strip().partition("\n")[0]
        raise ReactiveDemoError(
            f"The database refused ({reason}), and nothing in it was changed."
        ) from None
