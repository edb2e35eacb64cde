"""The rows of a captured table, as they are read: what was not seen yet, or all of them.

One row that PostgreSQL cannot show, because a column of it divides by zero, does not hold up the
others: what cannot be read at once is read in halves, down to single rows, and such a row has the
error in its place.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from reactive_demo.changes import Batch, State, UnreadableRow, Versioned, into_batches
from reactive_demo.errors import first_line
from reactive_demo.feeds.cursor import Cursor
from reactive_demo.feeds.statements import Statements
from reactive_demo.feeds.table import can_be
from reactive_demo.options import Options

__all__ = ["KEPT_PLAN", "UNREADABLE", "Rows", "fill_batches", "pack"]

UNREADABLE = (
    psycopg.DataError,
    psycopg.IntegrityError,  # a key that breaks a domain's rule
    psycopg.errors.ProgramLimitExceeded,  # more than JSON text can be
)
"""PostgreSQL's errors for a row that it cannot show, or a key that no row can have."""


class Rows:
    """Reads a captured table, by a connection that does nothing else meanwhile.

    Each row begins with key, row, version and the seconds since the epoch when it was changed, all
    of them text. The row is None for a deleted one, and a psycopg.Error for one that cannot be
    read. `check_unchanged` raises if the table is not what it was.
    """

    def __init__(
        self, statements: Statements, options: Options, check_unchanged: Callable[[], None]
    ) -> None:
        self._statements = statements
        self._check_unchanged = check_unchanged
        self._connection = statements.connection
        self._options = options
        self._connection.execute(KEPT_PLAN)

    def changes_since(self, cursor: Cursor) -> Iterator[Any]:
        """Yield what was not seen at `cursor`, as one statement has it.

        Each row has two columns more: the snapshot, and the version of a TRUNCATE that was not
        seen. There is at least one row, without a key if nothing changed; none once the table is
        not captured any more.
        """
        try:
            yield from self._changes_since(cursor)
        except UNREADABLE:
            yield from self._apart(self._changed_keys_since(cursor))

    def pages(self) -> Iterator[list[Any]]:
        """Yield all rows in the order of their keys, some at a time."""
        last, size = None, self._options.batch_rows
        while True:
            page = self._page(last, size)
            yield page
            if len(page) < size:
                return
            last = page[-1][0]
            width = sum(len(row) for _, row, *_ in page if isinstance(row, str)) / len(page)
            fits = int(self._options.page_bytes / max(width, 1))
            size = max(1, min(self._options.page_rows, fits))

    def look_up(self, keys: Sequence[str]) -> dict[str, tuple[Any, str | None]]:
        """Return row and version of each key, as they are now."""
        try:
            with self._connection.transaction():
                found = self._statements.execute("look_up", keys=list(keys)).fetchall()
        except UNREADABLE as error:
            if len(keys) > 1:
                middle = len(keys) // 2
                return {**self.look_up(keys[:middle]), **self.look_up(keys[middle:])}
            if not (is_one := can_be(self._connection, self._statements.table, keys[0])):
                self._check_unchanged()  # else the key's type may have changed
            return {keys[0]: (error if is_one else None, None)}
        return {key: (row, version) for key, row, version in found}

    def _changes_since(self, cursor: Cursor) -> Iterator[Any]:
        most = self._options.batch_rows
        some = self._statements.execute(
            "some_changes_since", **cursor.parameters, some=most + 1, prepare=True
        )
        if some.rowcount <= most:
            yield from some
            return
        parameters = {**self._statements.table.parameters, **cursor.parameters}
        with psycopg.ClientCursor(self._connection) as all_of_them:
            self._connection.execute(PLANNED + HASHED if self._is_much(cursor) else PLANNED)
            try:
                yield from all_of_them.stream(
                    self._statements["changes_since"], parameters, size=most
                )
            finally:
                all_of_them.close()
                self._connection.execute(KEPT_PLAN)

    def _is_much(self, cursor: Cursor) -> bool:
        """Return whether it is faster to read the whole table than to look up each key.

        The planner cannot know how many keys there are, and takes them for few.
        """
        most = max(int(self._statements.one("estimate")[0]), 0) // MUCH
        xmax = cursor.parameters["xmax"]
        return most > 0 and bool(self._statements.one("changes", xmax=xmax, most=most)[0] == most)

    def _changed_keys_since(self, cursor: Cursor) -> Iterator[Any]:
        """Yield the same without rows. The server keeps them, since others are read in between."""
        parameters = {**self._statements.table.parameters, **cursor.parameters}
        with self._connection.cursor("changed_keys", withhold=True) as keys:
            yield from keys.execute(self._statements["changed_keys_since"], parameters)

    def _page(self, last: str | None, size: int) -> list[Any]:
        def read(*, rows: bool) -> "psycopg.Cursor[Any]":
            statement = self._statements.page(first=last is None, rows=rows)
            return self._statements.execute(statement, last=last, rows=size)

        try:
            with self._connection.transaction():  # which may be a part of another
                return read(rows=True).fetchall()
        except UNREADABLE:
            return list(self._apart(read(rows=False)))

    def _apart(self, found: Iterable[Any]) -> Iterator[Any]:
        """Yield `found` with the rows as they are now: a later version of a row goes with it."""
        for some in into_batches(found, self._options.batch_rows):
            rows = self.look_up([key for key, *_ in some])
            for key, _, version, *rest in some:
                row, its_version = rows[key]
                yield key, row, its_version or version, *rest


def fill_batches(pages: Iterable[list[Any]], estimate: int, options: Options) -> Iterator[Batch]:
    """Yield the rows of a whole table in batches that say how far they have come."""
    count = 0
    for page in pages:
        for batch in pack(page, options):
            if not batch.rows:
                continue  # the page was full
            count += batch.rows
            progress = f"filling the cache, {count:,} of about {max(estimate, count):,}"
            yield replace(batch, state=State.CATCHING_UP, progress=progress)


def pack(rows: Iterable[Any], options: Options) -> Iterator[Batch]:
    """Yield full batches, and a last one, live, that is not full and may be empty."""
    changes: list[Versioned] = []
    unreadable: list[UnreadableRow] = []
    size, oldest = 0, None

    def batch(state: State) -> Batch:
        changed_at = None if oldest is None else float(oldest)
        return Batch(state, changes, unreadable, changed_at=changed_at)

    for key, row, version, changed_at, *_ in rows:
        oldest = oldest or changed_at
        if isinstance(row, psycopg.Error):
            unreadable.append(UnreadableRow(key, version, first_line(row)))
        else:
            changes.append(Versioned(key, row, version))
            size += len(row or "")
        full = len(changes) + len(unreadable) >= options.batch_rows
        if full or size >= options.batch_bytes:
            yield batch(State.CATCHING_UP)
            changes, unreadable, size, oldest = [], [], 0, None
    yield batch(State.LIVE)


KEPT_PLAN = """
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off;
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_nestloop = on; RESET work_mem
"""
"""For the few changes that most reads bring: by their indexes, planned once. To plan would take
longer than to read."""

PLANNED = """
    SET plan_cache_mode = auto; SET enable_seqscan = on; SET enable_bitmapscan = on;
    SET enable_hashjoin = on; SET enable_mergejoin = on
"""
"""For many changes at once."""

MUCH = 8
"""What part of the table must have changed before all of it is read."""

HASHED = "; SET enable_nestloop = off; SET work_mem = '64MB'"
"""For a large part of the table: read whole, and hashed."""
