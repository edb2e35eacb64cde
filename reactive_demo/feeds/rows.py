"""The rows of a captured table, as they are read: what was not seen yet, or all of them.

One row that PostgreSQL cannot show, because a column of it divides by zero, does not hold up the
others: what cannot be read at once is read in halves, down to single rows, and such a row has the
error in its place.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import psycopg

from reactive_demo.changes import Batch, Position, Unread, Versioned
from reactive_demo.errors import first_line
from reactive_demo.feeds.captured import can_be
from reactive_demo.feeds.cursor import Cursor
from reactive_demo.feeds.statements import Statements
from reactive_demo.portions import portions
from reactive_demo.state import State

__all__ = ["UNREADABLE", "Rows", "packed"]

BATCH_ROWS, BATCH_BYTES = 500, 1_000_000
"""What the cache takes at once, at most; for a read of more rows, PostgreSQL makes a plan anew."""

PAGE_ROWS, PAGE_BYTES = 5_000, 10_000_000
"""What is read at once when the whole table is read, about."""

UNREADABLE = (
    psycopg.DataError,
    psycopg.IntegrityError,  # a key that breaks a domain's rule
    psycopg.errors.ProgramLimitExceeded,  # more than JSON text can be
)
"""What PostgreSQL says of a row that it cannot show, or of a key that no row can have."""


class Rows:
    """Reads a captured table, by a connection that does nothing else meanwhile.

    What it yields begins with key, row, version and the seconds since the epoch when it was
    changed, all of them text. The row is None for a deleted one, and a psycopg.Error for one that
    cannot be read.
    """

    def __init__(self, connection: "psycopg.Connection[Any]", statements: Statements) -> None:
        self._connection = connection
        self._statements = statements
        self._table = statements.table
        connection.execute(KEPT_PLAN)

    def unseen(self, cursor: Cursor) -> Iterator[Any]:
        """What was not seen at `cursor`, as one statement has it.

        Each row has two columns more: the snapshot, and the version of a TRUNCATE that was not
        seen. There is at least one row, without a key if nothing changed; none once the table is
        not captured any more.
        """
        try:
            yield from self._unseen(cursor)
        except UNREADABLE:
            yield from self._apart(self._unseen_keys(cursor))

    def pages(self) -> Iterator[list[Any]]:
        """All rows in the order of their keys, some at a time."""
        last, size = None, BATCH_ROWS
        while True:
            page = self._page(last, size)
            yield page
            if len(page) < size:
                return
            last = page[-1][0]
            width = sum(len(row) for _, row, *_ in page if isinstance(row, str)) / len(page)
            size = max(1, min(PAGE_ROWS, int(PAGE_BYTES / max(width, 1))))

    def _unseen(self, cursor: Cursor) -> Iterator[Any]:
        parameters = {**self._table.parameters, **cursor.unseen, "some": BATCH_ROWS + 1}
        some = self._connection.execute(self._statements.unseen_some, parameters, prepare=True)
        if some.rowcount <= BATCH_ROWS:
            yield from some
            return
        with psycopg.ClientCursor(self._connection) as all_of_them:
            self._connection.execute(PLANNED)
            try:
                yield from all_of_them.stream(self._statements.unseen, parameters, size=BATCH_ROWS)
            finally:
                all_of_them.close()
                self._connection.execute(KEPT_PLAN)

    def _unseen_keys(self, cursor: Cursor) -> Iterator[Any]:
        """The same without rows. The server keeps them, since others are read in between."""
        parameters = {**self._table.parameters, **cursor.unseen}
        with self._connection.cursor("unseen", withhold=True) as keys:
            yield from keys.execute(self._statements.unseen_keys, parameters)

    def _page(self, last: str | None, size: int) -> list[Any]:
        def read(*, shown: bool) -> "psycopg.Cursor[Any]":
            return self._connection.execute(
                self._statements.page(first=last is None, shown=shown),
                {**self._table.parameters, "last": last, "rows": size},
            )

        try:
            return read(shown=True).fetchall()
        except UNREADABLE:
            return list(self._apart(read(shown=False)))

    def _apart(self, found: Iterable[Any]) -> Iterator[Any]:
        """`found` with the rows as they are now: a later version of a row goes with it."""
        for some in portions(found, BATCH_ROWS):
            rows = self._look_up([key for key, *_ in some])
            for key, _, version, *rest in some:
                row, its_version = rows[key]
                yield key, row, its_version or version, *rest

    def _look_up(self, keys: Sequence[str]) -> dict[str, tuple[Any, str | None]]:
        """Row and version of each key."""
        parameters = {**self._table.parameters, "keys": list(keys)}
        try:
            found = self._connection.execute(self._statements.look_up, parameters).fetchall()
        except UNREADABLE as error:
            if len(keys) > 1:
                middle = len(keys) // 2
                return {**self._look_up(keys[:middle]), **self._look_up(keys[middle:])}
            is_one = can_be(self._connection, self._table, keys[0])
            return {keys[0]: (error if is_one else None, None)}
        return {key: (row, version) for key, row, version in found}


def packed(rows: Iterable[Any], position: Position) -> Iterator[Batch]:
    """As the cache takes them: full batches, and a last one that is not, and may be empty."""
    changes: list[Versioned] = []
    unread: list[Unread] = []
    size, oldest = 0, None
    for key, row, version, changed_at, *_ in rows:
        oldest = oldest or changed_at
        if isinstance(row, psycopg.Error):
            unread.append(Unread(key, version, first_line(row)))
        else:
            changes.append(Versioned(key, row, version))
            size += len(row or "")
        if len(changes) + len(unread) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield Batch(
                State.CATCHING_UP, changes, position, unread=unread, changed_at=_time(oldest)
            )
            changes, unread, size, oldest = [], [], 0, None
    yield Batch(State.LIVE, changes, position, unread=unread, changed_at=_time(oldest))


def _time(seconds: str | None) -> float | None:
    return None if seconds is None else float(seconds)


KEPT_PLAN = """
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off;
    SET enable_hashjoin = off; SET enable_mergejoin = off
"""
"""For the few changes that are read mostly: by their indexes, planned once. To plan would take
longer than to read."""

PLANNED = """
    SET plan_cache_mode = auto; SET enable_seqscan = on; SET enable_bitmapscan = on;
    SET enable_hashjoin = on; SET enable_mergejoin = on
"""
"""For many changes at once."""
