"""The write side: the application writes the database, once, and nothing else."""

import selectors
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from threading import BoundedSemaphore
from typing import Any, Self

import psycopg
from psycopg.rows import DictRow, dict_row

from reactive_demo.addresses import no_answer
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.trace import writes

__all__ = ["COUNTERS", "Profiles"]

COUNTERS = ("followings", "followers", "likes")
"""The counters of a profile; their columns are called `<counter>_count`."""

CONNECTIONS = 4
"""How many statements one `Profiles` runs at the same time."""

Connection = psycopg.Connection[DictRow]


class Profiles:
    """Reads and writes of the table `profile`, safe to use from any thread.

    Each call is a transaction of its own. Connections are made when they are needed, kept for the
    next call, and closed by `close()` or at the end of the process. When PostgreSQL does not
    answer, methods raise ReactiveDemoError: at once if it refuses, else within 5 s.
    """

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self._places = BoundedSemaphore(CONNECTIONS)
        self._idle: list[Connection] = []

    def increment(self, username: str, counter: str) -> int | None:
        """Add one to a counter, making the profile if there is none.

        The version of the change, for `Cache.wait_for`; None where the table is not captured.

        Raises ReactiveDemoError for a counter that is none of `COUNTERS`.
        """
        return self.increment_all([(username, counter)])[0]

    def increment_all(self, increments: Sequence[tuple[str, str]]) -> list[int | None]:
        """Increment for each (username, counter), in one transaction; the versions, in order.

        Raises ReactiveDemoError as `increment` does, and then nothing was changed.
        """
        # Whoever locks several rows does it in one order: no two wait for each other.
        order = sorted(range(len(increments)), key=lambda number: increments[number][0])
        usernames, counters = ([increments[n][part] for n in order] for part in (0, 1))
        try:
            with ExitStack() as marks:
                for username in set(usernames):
                    marks.enter_context(writes.writing("profile", username))
                rows = self._execute(
                    "SELECT reactive.increment(who, counter) AS version"
                    " FROM unnest(%s::text[], %s::text[]) AS i (who, counter)",
                    usernames,
                    counters,
                )
        except psycopg.errors.InvalidParameterValue as error:
            if not error.diag.message_hint:
                raise  # a row too long to be announced
            raise ReactiveDemoError(
                f"{error.diag.message_primary}: {error.diag.message_hint}"
            ) from None
        versions = dict(zip(order, (row["version"] for row in rows), strict=True))
        return [versions[number] for number in range(len(increments))]

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
        """Close the connections; a call after that makes new ones."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Profiles(profile)"

    def _execute(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        try:
            with self._connection() as connection:
                return connection.execute(statement.encode(), arguments).fetchall()
        except psycopg.OperationalError as error:
            if error.sqlstate and not error.sqlstate.startswith("57P"):
                raise  # it answered; 57P is a server that shuts down
            raise no_answer(self.database_url, error) from error

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection to oneself for a moment: one that was kept, or a new one."""
        with self._places:
            connection = self._kept() or psycopg.connect(
                self.database_url,
                autocommit=True,
                row_factory=dict_row,
                application_name="reactive_demo write",
                connect_timeout=5,
            )
            try:
                yield connection
            finally:
                self._idle.append(connection)

    def _kept(self) -> Connection | None:
        """An idle connection that still answers: a server that restarted leaves dead ones.

        To ask each time would double the round trips; the end of a connection can be seen here.
        """
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                try:
                    if _has_news(connection):
                        connection.execute("SELECT 1")
                except psycopg.OperationalError:
                    connection.close()
                else:
                    return connection
        return None


def _has_news(connection: Connection) -> bool:
    """Whether something arrived while it was idle: a notice, or its end."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(0))
