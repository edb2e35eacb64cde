"""The rows of a table, as its cache should hold them."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.changes import Versioned
from reactive_demo.errors import NotCapturedError
from reactive_demo.feeds.table import SETTINGS, CapturedTable, can_be, describe, operators

__all__ = ["Table"]

PORTION = 500
"""Rows received at once."""


class Table:
    """A captured table or, with `captured=False`, any table with a primary key of one column.

    Raises NotCapturedError for any other. Excluded columns are left out of the rows. The methods
    raise psycopg.Error.
    """

    def __init__(
        self, connection: "psycopg.Connection[Any]", name: str, *, captured: bool = True
    ) -> None:
        self._connection = connection
        self.versioned = captured
        """Whether its changes have versions."""
        self._facts = facts = (describe if captured else _describe_uncaptured)(connection, name)
        self.name = facts.name
        """Schema-qualified and quoted."""
        connection.execute(SETTINGS)

    def count(self) -> int:
        """Return the number of rows."""
        query = sql.SQL("SELECT count(*) FROM {}").format(self._facts.table)
        return int(self._connection.execute(query, {}).fetchall()[0][0])

    def rows(self, share: float = 1) -> Iterator[Versioned]:
        """Yield all rows of one snapshot, or a random sample of about a `share` of them."""
        sample: sql.Composable = sql.SQL("")
        if share < 1:
            sample = sql.SQL("TABLESAMPLE BERNOULLI ({})").format(sql.Literal(100 * share))
        query = sql.SQL("SELECT {key}, {row}, {version} FROM {table} t {sample} {changes}").format(
            key=self._facts.key_text,
            row=self._facts.row,
            version=self._version(),
            table=self._facts.table,
            sample=sample,
            changes=self._changes(self._facts.key_text),
        )
        with self._connection.cursor() as reader:
            for row in reader.stream(query, {"table": self.name}, size=PORTION):
                yield Versioned._make(row)

    def look_up(self, keys: Sequence[str]) -> dict[str, Versioned]:
        """Return the rows of `keys` as they are now; None as the row of a key that has none."""
        query = sql.SQL(
            """
            SELECT k.key, CASE WHEN {key} = k.key THEN {row} END, {version}
            FROM unnest(%(keys)s::text[]) AS k (key) LEFT JOIN {table} t ON {found} {changes}
            """
        ).format(
            key=self._facts.key_text,
            row=self._facts.row,
            version=self._version(),
            table=self._facts.table,
            found=self._facts.found_by(sql.SQL("k.key")),
            changes=self._changes(sql.SQL("k.key")),
        )
        try:
            found = self._connection.execute(query, {"table": self.name, "keys": list(keys)})
            return {row[0]: Versioned._make(row) for row in found.fetchall()}
        except (psycopg.DataError, psycopg.IntegrityError):
            # A key that this table cannot have: anyone may write to Redis.
            if len(keys) == 1:
                if can_be(self._connection, self._facts, keys[0]):
                    raise
                return {keys[0]: Versioned(keys[0], None, "")}
            half = len(keys) // 2
            return {**self.look_up(keys[:half]), **self.look_up(keys[half:])}

    def _version(self) -> sql.SQL:
        return sql.SQL("coalesce(c.version, 0)::text" if self.versioned else "''")

    def _changes(self, key: sql.Composable) -> sql.Composable:
        if not self.versioned:
            return sql.SQL("")
        return sql.SQL(
            "LEFT JOIN reactive.change c ON c.table_name = %(table)s AND c.key = {}"
        ).format(key)


def _describe_uncaptured(connection: "psycopg.Connection[Any]", name: str) -> CapturedTable:
    """Describe a table whose cached rows have no versions, as with a NotifyFeed."""
    found = connection.execute(UNCAPTURED, [name]).fetchone()
    if found is None:
        raise NotCapturedError(
            f"There is no table {name} with a primary key of one column: name another, or run "
            f"`reactive-demo install --table {name}`."
        )
    equal, greater = operators(connection, found[0])
    return CapturedTable(*(*found, equal, greater))


UNCAPTURED = """
    SELECT format('%%I.%%I', n.nspname, r.relname), '', format('t.%%I::text', a.attname),
           ARRAY[quote_ident(a.attname)], ARRAY[format_type(a.atttypid, a.atttypmod)], NULL::text[]
    FROM pg_class r
    JOIN pg_namespace n ON n.oid = r.relnamespace
    JOIN pg_index i ON i.indrelid = r.oid AND i.indisprimary AND i.indnkeyatts = 1
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = i.indkey[0]
    WHERE r.oid = to_regclass(%s)
"""
"""A table by its primary key, in the same terms as a captured one."""
