"""The statements of `queries.sql`, written out for one captured table."""

import re
from functools import cache
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.errors import NotCapturedError
from reactive_demo.feeds.table import CapturedTable, listed

__all__ = ["Statements"]

NEXT_XID = sql.SQL("pg_snapshot_xmax(pg_current_snapshot())")
"""What a statement sees was written by a transaction before this one. A greater number is of
another server, from which the table was brought here by pg_dump: it says nothing."""

NOTHING = sql.SQL("")


class Statements:
    """The statements for one table, and a connection to run them."""

    def __init__(self, table: CapturedTable, connection: "psycopg.Connection[Any]") -> None:
        self.table = table
        self.connection = connection
        found = table.found_by(sql.SQL("c.key"))
        self._parts: dict[str, sql.Composable] = {
            "table": table.table,
            "key": table.key_text,
            "row": table.row,
            "columns": listed(table.columns),
            "first_column": table.columns[0],
            "next_xid": NEXT_XID,
            "row_of_key": sql.SQL("CASE WHEN {} = c.key THEN {} END").format(
                table.key_text, table.row
            ),
            "joined": sql.SQL("LEFT JOIN {} t ON {}").format(table.table, found),
            "limit": NOTHING,
            "incarnation": sql.SQL(_queries()["incarnation"]).format(),
        }
        without_rows = {"row_of_key": sql.SQL("NULL"), "joined": NOTHING}
        self._made = {
            **{name: self._make(name) for name in _queries() if name != "page"},
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

    def gone(self) -> NotCapturedError:
        """Return the error for a table that is not captured any more."""
        return NotCapturedError(f"Capture was taken off {self.table.name}, or put on it anew.")

    def _make(self, name: str, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(_queries()[name]).format(**{**self._parts, **parts})


@cache
def _queries() -> dict[str, Any]:
    """Return the text of each query by its name."""
    text = (files(__package__) / "queries.sql").read_text(encoding="utf-8")
    _, *parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    bodies = (re.sub(r"^--.*\n", "", part, flags=re.MULTILINE).strip() for part in parts[1::2])
    return dict(zip(parts[::2], bodies, strict=True))
