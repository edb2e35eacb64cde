"""The rows of a table, as its cache should hold them."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.capture.slots import Slot, slots_of
from reactive_demo.changes import Versioned
from reactive_demo.feeds.installed import LOG, describe_installed
from reactive_demo.feeds.queries import query
from reactive_demo.feeds.statements import VERSION_OF_KEY
from reactive_demo.feeds.table import SETTINGS, can_be, describe_uncaptured

__all__ = ["Table"]

PORTION = 500
"""Rows received at once."""


class Table:
    """A captured table or, with `captured=False`, any table with a primary key of one column.

    Raises NotCapturedError for any other. Excluded columns are left out of the rows. The methods
    raise psycopg.Error.
    """

    def __init__(
        self,
        connection: "psycopg.Connection[Any]",
        name: str,
        *,
        captured: bool = True,
        feed: str | None = None,
    ) -> None:
        self._connection = connection
        self.versioned = captured
        """Whether its changes have versions."""
        if captured:
            kind, facts = describe_installed(connection, name, feed)
        else:
            kind, facts = "", describe_uncaptured(connection, name)
        self._facts = facts
        self.in_log = kind == LOG
        """Whether its changes are read in the log."""
        self.name = facts.name
        """Schema-qualified and quoted."""
        connection.execute(SETTINGS)

    def log_end(self) -> int:
        """Return where the log ends: whatever was read until now committed before."""
        return int(self._connection.execute(query("log_insert_end")).fetchall()[0][0])

    def slots(self) -> list[Slot]:
        """Return the slots that keep the log of its changes."""
        return slots_of(self._connection, self.name)

    def count(self) -> int:
        """Return the number of rows."""
        query = sql.SQL("SELECT count(*) FROM {}").format(self._facts.table)
        return int(self._connection.execute(query, {}).fetchall()[0][0])

    def rows(self, share: float = 1) -> Iterator[Versioned]:
        """Yield all rows of one snapshot, or a random sample of about a `share` of them."""
        sample: sql.Composable = sql.SQL("")
        if share < 1:
            sample = sql.SQL("TABLESAMPLE BERNOULLI ({})").format(sql.Literal(100 * share))
        query = sql.SQL(
            "SELECT c.key, c.row, {version}"
            " FROM (SELECT {key} AS key, {row} AS row FROM {table} t {sample}) c"
        ).format(
            key=self._facts.key_text,
            row=self._facts.row,
            version=self._version(),
            table=self._facts.table,
            sample=sample,
        )
        with self._connection.cursor() as reader:
            for row in reader.stream(query, {"table": self.name}, size=PORTION):
                yield Versioned._make(row)

    def look_up(self, keys: Sequence[str]) -> dict[str, Versioned]:
        """Return the rows of `keys` as they are now; None as the row of a key that has none."""
        query = sql.SQL(
            """
            SELECT c.key, CASE WHEN {key} = c.key THEN {row} END, {version}
            FROM unnest(%(keys)s::text[]) AS c (key) LEFT JOIN {table} t ON {found}
            """
        ).format(
            key=self._facts.key_text,
            row=self._facts.row,
            version=self._version(),
            table=self._facts.table,
            found=self._facts.found_by(sql.SQL("c.key")),
        )
        try:
            found = self._connection.execute(query, {"table": self.name, "keys": list(keys)})
            return {row[0]: Versioned._make(row) for row in found.fetchall()}
        except (psycopg.DataError, psycopg.IntegrityError, UnicodeEncodeError):
            # A key that this table cannot have: anyone may write to Redis.
            if len(keys) == 1:
                if can_be(self._connection, self._facts, keys[0]):
                    raise
                return {keys[0]: Versioned(keys[0], None, "")}
            half = len(keys) // 2
            return {**self.look_up(keys[:half]), **self.look_up(keys[half:])}

    def _version(self) -> sql.Composable:
        if self.in_log:
            return sql.SQL("'0'")  # nobody knows the version of a row as it is
        return VERSION_OF_KEY if self.versioned else sql.SQL("''")
