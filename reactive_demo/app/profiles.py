"""The write side: the application writes the database, once, and nothing else."""

import time
from collections.abc import Sequence
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row

from reactive_demo.app.increments import Increments
from reactive_demo.app.pool import Pool
from reactive_demo.errors import ReactiveDemoError, RefusedError
from reactive_demo.postgres import PatientConnection, open_postgres, translated
from reactive_demo.signals import Signal

__all__ = ["COUNTERS", "Profiles"]

COUNTERS = ("followings", "followers", "likes")
"""The counters of a profile; their columns are called `<counter>_count`."""

WRITE_TIMEOUT = 20.0
"""Seconds after which a server that is silent counts as away."""


class Profiles:
    """Reads and writes of the table `profile`, safe to use from any thread.

    Each call is a transaction of its own. Connections are made when they are needed, kept for the
    next call, and closed by `close()` or at the end of the process. When PostgreSQL does not
    answer, methods raise ReactiveDemoError: at once if it refuses, else within 5 s.
    """

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.wrote: Signal[[str, float, float]] = Signal()
        """Sent after each increment: username, when the write began, and when it was done."""
        self._pool = Pool(lambda: _connect(database_url))
        self._increments = Increments()

    def increment(self, username: str, counter: str) -> int | None:
        """Add one to a counter, making the profile if there is none.

        Return the version to pass to `Cache.wait_for`; None where no durable feed can follow.

        Raises ReactiveDemoError for a counter that is none of `COUNTERS`.
        """
        return self.increment_all([(username, counter)])[0]

    def increment_all(
        self, increments: Sequence[tuple[str, str]], *, lock_timeout: float | None = None
    ) -> list[int | None]:
        """Increment for each (username, counter), in one transaction; return the versions in order.

        Raises ReactiveDemoError as `increment` does, and then nothing was changed: LockTimeoutError
        when another transaction holds a row for `lock_timeout` seconds.
        """
        # Rows are locked in one order everywhere, so that no two transactions wait for each other.
        order = sorted(range(len(increments)), key=lambda number: increments[number][0])
        usernames, counters = ([increments[n][part] for n in order] for part in (0, 1))
        began = time.time()
        try:
            wait = None if lock_timeout is None else f"{max(1, round(1000 * lock_timeout))}ms"
            with translated(self.database_url), self._pool.lend() as connection:
                found = self._increments.run(connection, wait, usernames, counters)
        except UnicodeEncodeError as error:
            raise RefusedError(f"The database's encoding cannot write {error.object!r}.") from None
        if self.wrote:
            for username in set(usernames):
                self.wrote(username, began, time.time())
        versions = dict(zip(order, found, strict=True))
        return [versions[number] for number in range(len(increments))]

    def get(self, username: str) -> dict[str, Any] | None:
        """Return the row as the database has it now, or None."""
        try:
            rows = self._execute(GET, username)
        except UnicodeEncodeError:
            return None  # a name that the database's encoding cannot write
        return rows[0] if rows else None

    def delete(self, username: str) -> bool:
        """Delete the profile; return whether there was one."""
        return bool(self._execute(DELETE, username))

    def rename(self, username: str, new: str) -> bool:
        """Change the profile's name; return whether there was one.

        Raises ReactiveDemoError when the new name is taken.
        """
        try:
            return bool(self._execute(RENAME, new, username))
        except psycopg.errors.UniqueViolation:
            raise ReactiveDemoError(f"There is a profile {new!r} already.") from None

    def close(self) -> None:
        """Close the connections; a call after that makes new ones."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Profiles(profile)"

    def _execute(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        with translated(self.database_url), self._pool.lend() as connection:
            rows: list[dict[str, Any]] = connection.execute(
                statement.encode(), arguments
            ).fetchall()
            return rows


def _connect(database_url: str) -> PatientConnection:
    """Connect as it suits a pooler in transaction mode: nothing is left in the session."""
    return open_postgres(
        database_url,
        "write",
        pinned=False,
        prepare_threshold=None,
        row_factory=dict_row,
        silence_timeout=WRITE_TIMEOUT,
    )


# Qualified throughout: these sessions may be a pooler's, and are not pinned to pg_catalog.
GET = "SELECT * FROM public.profile WHERE username OPERATOR(pg_catalog.=) %s::pg_catalog.text"
DELETE = """
    DELETE FROM public.profile WHERE username OPERATOR(pg_catalog.=) %s::pg_catalog.text
    RETURNING username
"""
RENAME = """
    UPDATE public.profile SET username = %s
    WHERE username OPERATOR(pg_catalog.=) %s::pg_catalog.text RETURNING username
"""
