"""The write side: the application writes the database, once, and nothing else."""

from typing import Any, Self

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.settings import without_password

__all__ = ["COUNTERS", "Profiles"]

COUNTERS = ("followings", "followers", "likes")
"""The counters of a profile; their columns are called `<counter>_count`."""


class Profiles:
    """Reads and writes of the table `profile`, safe to use from any thread.

    Each call is a transaction of its own on a pooled connection. The pool opens its first
    connection with the first call, and is closed by `close()` or at the end of the process.
    """

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self._pool: ConnectionPool[psycopg.Connection[dict[str, Any]]] = ConnectionPool(
            database_url,
            min_size=0,
            max_size=4,
            open=False,
            timeout=5,
            check=ConnectionPool.check_connection,  # a server that restarted leaves dead ones
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "application_name": "reactive_demo write",
                "connect_timeout": 5,
            },
        )

    def increment(self, username: str, counter: str) -> None:
        """Add one to a counter, making the profile if there is none.

        Raises ReactiveDemoError for a counter that is none of `COUNTERS`.
        """
        try:
            self._execute("SELECT reactive.increment(%s, %s)", username, counter)
        except psycopg.errors.InvalidParameterValue as error:
            hint = error.diag.message_hint or ""
            raise ReactiveDemoError(f"{error.diag.message_primary}: {hint}") from None

    def get(self, username: str) -> dict[str, Any] | None:
        """The row as the database has it now, or None."""
        rows = self._execute("SELECT * FROM public.profile WHERE username = %s", username)
        return rows[0] if rows else None

    def delete(self, username: str) -> bool:
        """Delete the profile; whether there was one."""
        return bool(
            self._execute(
                "DELETE FROM public.profile WHERE username = %s RETURNING username", username
            )
        )

    def rename(self, username: str, new: str) -> bool:
        """Change the profile's name; whether there was one.

        Raises ReactiveDemoError when the new name is taken.
        """
        try:
            return bool(
                self._execute(
                    "UPDATE public.profile SET username = %s WHERE username = %s RETURNING 1 AS n",
                    new,
                    username,
                )
            )
        except psycopg.errors.UniqueViolation:
            raise ReactiveDemoError(f"There is a profile {new!r} already.") from None

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Profiles(profile)"

    def _execute(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        self._pool.open()
        try:
            with self._pool.connection() as connection:
                return connection.execute(statement.encode(), arguments).fetchall()
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise ReactiveDemoError(
                f"PostgreSQL ({without_password(self.database_url)}) does not answer: "
                f"{type(error).__name__}. Is the server running?"
            ) from error
