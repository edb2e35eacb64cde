"""A captured table as the database describes it, and the SQL that finds, keys and shows its rows.

A table's owner may be somebody whose code must not run with the rights of the account that reads
it. So nothing here calls what an owner can define: a key's text is parsed as the type under its
domains, which have rules, and a column of a type that PostgreSQL does not bring is shown by the
type's own output, and not by a cast to JSON.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.errors import NotCapturedError, RefusedError, first_line
from reactive_demo.feeds.queries import query

__all__ = [
    "SCHEMA_CHANGED",
    "SETTINGS",
    "CapturedTable",
    "can_be",
    "capture_always",
    "check_trust",
    "describe",
    "describe_published",
    "describe_uncaptured",
    "listed",
    "resolve",
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

SETTINGS = """
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
    SET bytea_output = 'hex'; SET extra_float_digits = 1; SET lc_monetary = 'C';
    SET row_security = off; SET jit = off; SET max_parallel_workers_per_gather = 0
"""
"""What the text of a key or row may depend on, as the trigger has it; and no start-up costs.

A row that a policy hides would look deleted: without row security, PostgreSQL refuses instead."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a captured table; the name is quoted."""

    name: str
    base_type: str
    """The type under its domains, schema-qualified where it must be."""
    how: str
    """How to show it: `bare`, `text` by its output, `texts` for an array of such."""

    @property
    def shown(self) -> sql.SQL:
        """The column of row `t` as JSON may show it, under its name."""
        bare = f"t.{self.name}"
        if self.how == "bare":
            return text(bare)
        cast = "::pg_catalog.text[]" if self.how == "texts" else ""
        return text(
            f"CASE WHEN {bare} IS NOT NULL THEN pg_catalog.format('%s', {bare}){cast} END"
            f" AS {self.name}"
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
        """What a cache may see of row `t`, as JSON text."""
        return sql.SQL("(SELECT row_to_json(r.*) FROM (SELECT {}) r)::text").format(
            listed(column.shown for column in self.columns)
        )

    @property
    def key_parts(self) -> list[sql.SQL]:
        """The key's columns in row `t`."""
        return [text(f"t.{column.name}") for column in self.key_columns]

    def parts(self, key: sql.SQL) -> list[sql.Composed]:
        """Return the key's columns, taken out of its text form and typed."""
        types = [text(column.base_type) for column in self.key_columns]
        if len(types) == 1:
            return [sql.SQL("{}::{}").format(key, types[0])]
        return [
            sql.SQL("({}::jsonb ->> {})::{}").format(key, sql.Literal(n), kind)
            for n, kind in enumerate(types)
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


def resolve(connection: "psycopg.Connection[Any]", table: str) -> str | None:
    """Return the table's name, schema-qualified and quoted, or None if there is none.

    A bare name is looked up as the account's own search_path says.
    """
    own = getattr(connection, "own_search_path", "") or "pg_catalog"
    with connection.transaction():
        connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", [own])
        found = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
            " ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
            " WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s)",
            [table],
        ).fetchone()
    if found is None:
        return None
    quoted = connection.execute("SELECT pg_catalog.format('%%I.%%I', %s::text, %s::text)", found)
    return str(quoted.fetchone()[0])  # type: ignore[index]


def check_trust(connection: "psycopg.Connection[Any]") -> None:
    """Raise RefusedError if the schema `reactive`, or a thing in it, is somebody's who might harm.

    What is there runs with the rights of this account: so it must belong to a superuser, to the
    database's owner or to this account itself.
    """
    found = connection.execute(query("strangers")).fetchone()
    if found is not None:
        thing, owner = found
        raise RefusedError(
            f"{thing} belongs to {owner}, whose code would run with the rights of this account: "
            f"drop it, or have it owned by the database's owner."
        )


def can_be(connection: "psycopg.Connection[Any]", table: CapturedTable, key: str) -> bool:
    """Return whether a row of `table` may have that key; else it is no number, for example."""
    query = sql.SQL("SELECT {}").format(listed(table.parts(sql.SQL("%(key)s::text"))))
    try:
        with connection.transaction():
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
    name = resolve(connection, table)
    if name is None:
        raise NotCapturedError(f"There is no table {table} in this database: {advice}")
    check_trust(connection)
    try:
        found = connection.execute(query(how), [name]).fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise RefusedError(
            f"This account may not read what is {how} ({first_line(error)}): GRANT USAGE ON "
            f"SCHEMA reactive and SELECT ON reactive.{how}, reactive.change to it."
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
    columns, keys = [], {}
    for quoted, base_type, how, place, bare, owner in connection.execute(
        query("columns"), [name, name]
    ):
        column = Column(quoted, base_type, how)
        if place:
            keys[place] = column
        if bare in excluded:
            continue
        if owner:
            raise RefusedError(
                f"The column {quoted} of {name} is of a type that would become JSON by the code of "
                f"{owner}, with the rights of this account: leave it out (`exclude`), or run as "
                f"{owner}."
            )
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
