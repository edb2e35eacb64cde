"""A captured table as the database describes it, and the SQL that finds, keys and shows its rows.

A table's owner may be somebody whose code must not run with the rights of the account that reads
it. So nothing here calls what an owner can define: a key's text is read as the type under its
domains, which have rules, by that type's own input and not by a cast; and a column of such an
owner's type is shown by the type's own output, and not by a cast to JSON.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.capture.schema import check_trust, resolve
from reactive_demo.errors import NotCapturedError, RefusedError, first_line
from reactive_demo.feeds.queries import query

__all__ = [
    "SCHEMA_CHANGED",
    "SETTINGS",
    "SETTING_VALUES",
    "CapturedTable",
    "can_be",
    "capture_always",
    "describe",
    "describe_published",
    "describe_uncaptured",
    "listed",
    "text",
]

SCHEMA_CHANGED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedObject,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.DatatypeMismatch,
    psycopg.errors.CannotCoerce,
)
"""What a session meets when the table, or all of capture, is changed under it."""

SETTING_VALUES = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "row_security": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
SETTINGS = "; ".join(f"SET {name} = '{value}'" for name, value in SETTING_VALUES.items())
"""What the text of a key or row may depend on, as the trigger has it; and no start-up costs.

A row that a policy hides would look deleted: without row security, PostgreSQL refuses instead."""

SHOWN = """
    CASE WHEN (
        SELECT CASE WHEN string_agg(a.atttypid::text, ',' ORDER BY a.attnum) = {types} THEN true
               ELSE 'reactive.not_the_types_that_it_had'::text::regclass IS NULL END
        FROM pg_attribute a
        WHERE a.attrelid = to_regclass({table}) AND a.attnum > 0 AND NOT a.attisdropped
    ) THEN (SELECT row_to_json(r.*) FROM (SELECT {columns}) r)::text END
"""
"""Once for each statement, it is looked whether the columns are what they were."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a captured table; the name is quoted."""

    name: str
    base_type: str
    """The type under its domains, schema-qualified where it must be."""
    how: str
    """How to show it: `bare`, `text` by its output, `texts` for an array of such."""
    is_strange: bool
    """Whether its type is of somebody whose casts must not run with the rights of this account."""
    is_domain: bool

    @property
    def compared(self) -> sql.SQL:
        """The column of row `t` as operators take it: not all of them know domains."""
        return text(f"t.{self.name}" + f"::{self.base_type}" * self.is_domain)

    @property
    def shown(self) -> sql.SQL:
        """The column of row `t` as JSON may show it, under its name."""
        bare = f"t.{self.name}"
        if self.how == "bare":
            return text(bare)
        cast = "::pg_catalog.text[]" if self.how == "texts" else ""
        return text(
            f"CASE WHEN {bare} IS NOT NULL THEN pg_catalog.concat({bare}){cast} END AS {self.name}"
        )


@dataclass(frozen=True, slots=True)
class CapturedTable:
    """A captured table, as the database describes it; all names are quoted."""

    name: str
    incarnation: str
    """A uuid that is new each time that capture is put on the table; empty if it is not."""
    key: str
    """The key as text: an expression on the row `t`."""
    key_columns: list[Column]
    equal: list[str]
    """For each of the key's columns, the operator that finds it by the primary key."""
    greater: list[str]
    """And the one that sorts it."""
    columns: list[Column]
    """The columns that a cache may see."""
    types: str
    """The types of all its columns."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What every statement may refer to."""
        return {"table": self.name, "incarnation": self.incarnation}

    # In a statement, its rows are called t.

    @property
    def table(self) -> sql.SQL:
        """The table."""
        return text(self.name)

    @property
    def key_text(self) -> sql.SQL:
        """The key of row `t`, as text."""
        return text(self.key)

    @property
    def row(self) -> sql.Composable:
        """What a cache may see of row `t`, as JSON text.

        If a column's type changed since, which the owner may do at any time, it is UndefinedTable.
        """
        return sql.SQL(SHOWN).format(
            table=text(sql.Literal(self.name).as_string(None)),
            types=self.types,
            columns=listed(column.shown for column in self.columns),
        )

    @property
    def key_parts(self) -> list[sql.SQL]:
        """The key's columns in row `t`."""
        return [column.compared for column in self.key_columns]

    def parts(self, key: sql.SQL) -> list[sql.Composed]:
        """Return the key's columns, taken out of its text form and typed."""
        parts: list[sql.Composable] = [key]
        if len(self.key_columns) > 1:
            part_at = sql.SQL("({}::jsonb ->> {})")
            parts = [part_at.format(key, sql.Literal(n)) for n in range(len(self.key_columns))]
        # A text becomes what a stranger's type is by the type's own input, and not by a cast.
        by_cast = sql.SQL("{}::{}")
        by_input = sql.SQL("(SELECT r.v FROM json_to_record(json_build_object('v', {})) r (v {}))")
        return [
            (by_input if column.is_strange else by_cast).format(part, text(column.base_type))
            for column, part in zip(self.key_columns, parts, strict=True)
        ]

    def found_by(self, key: sql.SQL) -> sql.Composed:
        """Return the condition that finds row `t`; its equal key may be written otherwise."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} {} {}").format(column, text(equal), part)
            for column, equal, part in zip(self.key_parts, self.equal, self.parts(key), strict=True)
        )

    def after(self, key: sql.SQL) -> sql.Composed:
        """Return the condition that row `t` comes after that key, in the order of the key."""
        columns, parts = listed(self.key_parts), listed(self.parts(key))
        if len(set(self.greater)) == 1:
            return sql.SQL("({}) {} ({})").format(columns, text(self.greater[0]), parts)
        # Operators of several schemas cannot compare the columns as one.
        compared = list(zip(self.key_parts, self.equal, self.greater, self.parts(key), strict=True))
        ways = []
        for n, (column, _, greater, part) in enumerate(compared):
            same = [sql.SQL("{} {} {}").format(c, text(e), p) for c, e, _, p in compared[:n]]
            more = sql.SQL("{} {} {}").format(column, text(greater), part)
            ways.append(sql.SQL("({})").format(sql.SQL(" AND ").join([*same, more])))
        return sql.SQL("({})").format(sql.SQL(" OR ").join(ways))


def describe(connection: "psycopg.Connection[Any]", table: str) -> CapturedTable:
    """Say what the captured `table` is.

    Raises NotCapturedError if it is not captured, or not as it should be, and RefusedError if the
    schema `reactive` is not to be trusted.
    """
    return _describe(connection, table, "captured", "")


def describe_published(connection: "psycopg.Connection[Any]", table: str) -> CapturedTable:
    """Say what `table` is, whose changes are published in the log. Raises as `describe` does."""
    return _describe(connection, table, "published", ", feed='log'")


def describe_uncaptured(connection: "psycopg.Connection[Any]", table: str) -> CapturedTable:
    """Say what any `table` with a primary key of one column is.

    Raises NotCapturedError if there is no such table.
    """
    name = resolve(connection, table)
    key = None if name is None else connection.execute(query("key_column"), [name]).fetchone()
    if name is None or key is None:
        raise NotCapturedError(
            f"There is no table {table} with a primary key of one column: name another, or run "
            f"`reactive-demo install --table {table}`."
        )
    return _described(connection, name, "", key[1], [])


def can_be(connection: "psycopg.Connection[Any]", table: CapturedTable, key: str) -> bool:
    """Return whether a row of `table` may have that key; else it is no number, for example."""
    query = sql.SQL("SELECT {}").format(listed(table.parts(sql.SQL("%(key)s::text"))))
    try:
        with connection.transaction():  # which may be a part of another
            connection.execute(query, {"key": key})
    except (psycopg.DataError, psycopg.IntegrityError, UnicodeEncodeError):
        return False
    return True


def _describe(
    connection: "psycopg.Connection[Any]", table: str, how: str, option: str
) -> CapturedTable:
    """Say what a table is that is `captured` or `published`."""
    advice = f"run `install(database_url, {table!r}{option})`."
    if not option:
        advice = f"run `reactive-demo install --table {table}`, or {advice.removeprefix('run ')}"
    read = "reactive.published" if option else "reactive.captured, reactive.change"
    name = resolve(connection, table)
    if name is None:
        raise NotCapturedError(f"There is no table {table} in this database: {advice}")
    check_trust(connection)
    try:
        found = connection.execute(query(how), [name]).fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise RefusedError(
            f"This account may not read what is {how} ({first_line(error)}): GRANT USAGE ON "
            f"SCHEMA reactive and SELECT ON {read} to it."
        ) from None
    except SCHEMA_CHANGED:
        found = None
    if found is None:
        raise NotCapturedError(f"The table {table} is not {how} in this database: {advice}")
    incarnation, key, excluded, why = found
    if why:
        raise NotCapturedError(f"The table {table} is {how} no longer ({why}): {advice}")
    return _described(connection, name, incarnation, key, excluded)


def _described(
    connection: "psycopg.Connection[Any]",
    name: str,
    incarnation: str,
    key: str,
    excluded: Sequence[str],
) -> CapturedTable:
    columns, keys, types = [], {}, []
    for quoted, base_type, how, place, bare, is_strange, kind, base in connection.execute(
        query("columns"), [name, name]
    ):
        types.append(str(kind))
        column = Column(quoted, base_type, how, is_strange, kind != base)
        if place:
            keys[place] = column
        if bare not in excluded:
            columns.append(column)
    operators = connection.execute(query("operators"), [name]).fetchall()
    return CapturedTable(
        name,
        incarnation,
        key,
        [keys[place] for place in sorted(keys)],
        [equal for equal, _ in operators],
        [greater for _, greater in operators],
        columns,
        ",".join(types),
    )


def capture_always(connection: "psycopg.Connection[Any]", table: str) -> None:
    """Let the trigger fire for what replication writes too, if ENABLE TRIGGER took that away.

    An account that is not the table's owner leaves it as it is: `install` mends it.
    """
    if connection.execute(query("fires_by_origin"), [table]).fetchone():
        enable = sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER reactive_capture")
        refused = (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.LockNotAvailable,
            psycopg.errors.ReadOnlySqlTransaction,
        )
        with suppress(*refused), connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '500ms'")
            connection.execute(enable.format(text(table)))


def listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    """Return the parts with commas in between."""
    return sql.SQL(", ").join(parts)


def text(made_by_postgresql: str) -> sql.SQL:
    """Return a name, type or expression that needs no quoting, for a statement with parameters."""
    return sql.SQL(made_by_postgresql.replace("%", "%%"))
