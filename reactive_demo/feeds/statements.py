"""The statements of `queries.sql`, written out for one captured table."""

from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.errors import NotCapturedError
from reactive_demo.feeds.queries import query
from reactive_demo.feeds.table import CapturedTable, listed

__all__ = ["Statements"]

NEXT_XID = sql.SQL("pg_snapshot_xmax(pg_current_snapshot())")
"""What a statement sees was written by a transaction before this one. A greater number is of
another server, from which the table was brought here by pg_dump: it says nothing."""

VERSION_OF_KEY = sql.SQL("""coalesce((
    SELECT max(v.version) FILTER (WHERE v.key = c.key AND v.table_name = %(table)s)
    FROM reactive.change v
    WHERE hashtextextended(v.key, 0) = hashtextextended(c.key, 0)), 0)::text""")
"""0 for a key that did not change within the retention: any change of it is newer. A condition on
the table would have PostgreSQL, before its first ANALYZE, read the whole log for each key."""

NAMES = (
    *("now", "changes_since", "changes", "look_up", "read_one", "estimate"),
    *("arm", "disarm", "supersede", "prune"),
)
NOTHING = sql.SQL("")


class Statements:
    """The statements for one table, and a connection to run them.

    The log's feed has another `incarnation`, and no `version` of a key to look up.
    """

    def __init__(
        self,
        table: CapturedTable,
        connection: "psycopg.Connection[Any]",
        *,
        incarnation: str = "incarnation",
        version: sql.SQL = VERSION_OF_KEY,
    ) -> None:
        self.table = table
        self.connection = connection
        found = table.found_by(sql.SQL("c.key"))
        self._parts: dict[str, sql.Composable] = {
            "table": table.table,
            "key": table.key_text,
            "row": table.row,
            "columns": listed(table.key_parts),
            "next_xid": NEXT_XID,
            "row_of_key": sql.SQL("CASE WHEN {} = c.key THEN {} END").format(
                table.key_text, table.row
            ),
            "joined": sql.SQL("LEFT JOIN {} t ON {}").format(table.table, found),
            "version_of_key": version,
            "limit": NOTHING,
        }
        columns_fingerprint = sql.SQL(query("columns_fingerprint"))
        whose = sql.SQL(query(incarnation)).format(columns_fingerprint=columns_fingerprint)
        self._parts["incarnation"] = whose
        without_rows = {"row_of_key": sql.SQL("NULL"), "joined": NOTHING}
        self._made: dict[str, sql.Composed] = {
            **{name: self._make(name) for name in NAMES},
            "incarnation": whose,
            "some_changes_since": self._make("changes_since", limit=sql.SQL("LIMIT %(some)s")),
            "changed_keys_since": self._make("changes_since", **without_rows),
        }

    def __getitem__(self, name: str) -> sql.Composed:
        return self._made[name]

    def page(self, *, first: bool, rows: bool) -> sql.Composed:
        """Return the statement for the next page, after the key `last`: rows, or keys only."""
        after = sql.SQL("true") if first else self.table.after(sql.SQL("%(last)s::text"))
        return self._make("page", after=after, **({} if rows else {"row": sql.SQL("NULL")}))

    def execute(
        self, name: str | sql.Composed, /, *, prepare: bool | None = None, **parameters: Any
    ) -> "psycopg.Cursor[Any]":
        """Run a statement by name."""
        statement = self[name] if isinstance(name, str) else name
        everything = {**self.table.parameters, **parameters}
        return self.connection.execute(statement, everything, prepare=prepare)

    def one(self, name: str, **parameters: Any) -> Any:
        """Return the one row of a statement.

        Raises NotCapturedError if there is none: then the table is not captured any more.
        """
        found = self.execute(name, **parameters).fetchone()
        if found is None:
            raise self.gone()
        return found

    def check_unchanged(self, incarnation: str) -> None:
        """Raise NotCapturedError if the table, or its capture, is not what it was."""
        if self.one("incarnation")[0] != incarnation:
            raise NotCapturedError(f"The table {self.table.name} was changed; it is read again.")

    def gone(self) -> NotCapturedError:
        """Return the error for a table that is not captured any more."""
        return NotCapturedError(f"Capture was taken off {self.table.name}, or put on it anew.")

    def _make(self, name: str, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(query(name)).format(**{**self._parts, **parts})
