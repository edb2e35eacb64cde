"""A captured table as the database describes it, and what statements say of its rows."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.errors import NotCapturedError

__all__ = [
    "SCHEMA_CHANGED",
    "SETTINGS",
    "CapturedTable",
    "can_be",
    "describe",
    "listed",
    "operators",
]


SCHEMA_CHANGED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
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
class CapturedTable:
    """A captured table, as the database describes it; all names are quoted."""

    name: str
    incarnation: str
    """A uuid that is new each time that capture is put on the table."""
    key: str
    """The key as text: an expression on the row `t`."""
    key_columns: list[str]
    key_types: list[str]
    visible_columns: list[str] | None
    """The columns that a cache may see; None for all, also those that are added later."""
    equal: list[str]
    """For each of the key's columns, the operator that finds it by the primary key."""
    greater: list[str]
    """And the one that the primary key sorts by."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What every statement may refer to."""
        return {"table": self.name, "incarnation": self.incarnation}

    # In a statement, its rows are called t.

    @property
    def table(self) -> sql.SQL:
        """The table."""
        return _text(self.name)

    @property
    def key_text(self) -> sql.SQL:
        """The key of row `t`, as text."""
        return _text(self.key)

    @property
    def row(self) -> sql.Composable:
        """What a cache may see of row `t`, as JSON text."""
        if self.visible_columns is None:
            return sql.SQL("row_to_json(t.*)::text")
        return sql.SQL("(SELECT row_to_json(r.*) FROM (SELECT {}) r)::text").format(
            listed(_text(f"t.{column}") for column in self.visible_columns)
        )

    @property
    def columns(self) -> list[sql.SQL]:
        """The key's columns in row `t`."""
        return [_text(f"t.{column}") for column in self.key_columns]

    def parts(self, key: sql.SQL) -> list[sql.Composed]:
        """The key's columns, taken out of its text form and typed."""
        if len(self.key_types) == 1:
            return [sql.SQL("{}::{}").format(key, _text(self.key_types[0]))]
        return [
            sql.SQL("({}::jsonb ->> {})::{}").format(key, sql.Literal(n), _text(kind))
            for n, kind in enumerate(self.key_types)
        ]

    def found_by(self, key: sql.SQL) -> sql.Composed:
        """The condition that finds row `t`; its key is equal, and may be written otherwise."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} {} {}").format(column, _text(equal), part)
            for column, equal, part in zip(self.columns, self.equal, self.parts(key), strict=True)
        )

    def after(self, key: sql.SQL) -> sql.Composed:
        """The condition that row `t` comes after that key, in the order of the primary key."""
        columns, parts = listed(self.columns), listed(self.parts(key))
        if len(set(self.greater)) == 1:
            return sql.SQL("({}) {} ({})").format(columns, _text(self.greater[0]), parts)
        # Operators of several schemas cannot compare the columns as one.
        compared = list(zip(self.columns, self.equal, self.greater, self.parts(key), strict=True))
        ways = []
        for n, (column, _, greater, part) in enumerate(compared):
            same = [sql.SQL("{} {} {}").format(c, _text(e), p) for c, e, _, p in compared[:n]]
            more = sql.SQL("{} {} {}").format(column, _text(greater), part)
            ways.append(sql.SQL("({})").format(sql.SQL(" AND ").join([*same, more])))
        return sql.SQL("({})").format(sql.SQL(" OR ").join(ways))


def describe(connection: psycopg.Connection[Any], table: str) -> CapturedTable:
    """Say what `table` is; from here on, every name in a statement must be qualified."""
    found = None
    with suppress(*SCHEMA_CHANGED):
        named = connection.execute("SELECT reactive.name_of(%s::regclass)", [table]).fetchone()
        connection.execute("SET search_path = pg_catalog")
        found = connection.execute(DESCRIPTION, named).fetchone()
    if found is None:
        raise NotCapturedError(
            f"The table {table} is not captured in this database: run "
            f"`reactive-demo install --table {table}`, or `install(database_url)`."
        )
    equal, greater = operators(connection, found[0])
    return CapturedTable(*(*found, equal, greater))


def can_be(connection: psycopg.Connection[Any], table: CapturedTable, key: str) -> bool:
    """Whether a row of `table` may have that key; else it is no number, or breaks a domain's rule.

    The connection commits each statement by itself.
    """
    query = sql.SQL("SELECT {}").format(listed(table.parts(sql.SQL("%(key)s::text"))))
    try:
        connection.execute(query, {"key": key})
    except (psycopg.DataError, psycopg.IntegrityError):
        return False
    return True


def operators(connection: psycopg.Connection[Any], table: str) -> tuple[list[str], list[str]]:
    """By which the primary key of `table` finds a row and sorts, for each of its columns."""
    found = connection.execute(OPERATORS, [table]).fetchall()
    return [equal for equal, _ in found], [greater for _, greater in found]


DESCRIPTION = """
    SELECT k.table_name, k.incarnation::text, reactive.key_expression(a.attrelid, 't'),
           array_agg(quote_ident(a.attname) ORDER BY array_position(k.key_columns, a.attname::text))
               FILTER (WHERE a.attname = ANY (k.key_columns)),
           array_agg(format_type(a.atttypid, a.atttypmod)
                     ORDER BY array_position(k.key_columns, a.attname::text))
               FILTER (WHERE a.attname = ANY (k.key_columns)),
           CASE WHEN k.excluded <> '{}' THEN array_agg(quote_ident(a.attname) ORDER BY a.attnum)
               FILTER (WHERE a.attname <> ALL (k.excluded)) END
    FROM reactive.captured k
    JOIN pg_attribute a ON a.attrelid = k.table_name::regclass
    WHERE k.table_name = %s AND a.attnum > 0 AND NOT a.attisdropped
      AND EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = a.attrelid
                  AND g.tgname = 'reactive_capture' AND g.tgenabled IN ('A', 'O'))
    GROUP BY k.table_name, a.attrelid
    HAVING k.key_columns = reactive.key_columns(a.attrelid)
       AND k.excluded <@ array_agg(a.attname::text) -- else one was renamed, and would be shown
"""

# Names resolve in pg_catalog only, and a type of an extension has its operators elsewhere.
OPERATORS = """
    SELECT min(operator) FILTER (WHERE strategy = 3), min(operator) FILTER (WHERE strategy = 5)
    FROM (
        SELECT c.position, m.amopstrategy AS strategy,
               format('OPERATOR(%%I.%%s)', n.nspname, o.oprname) AS operator
        FROM pg_index i, unnest(i.indclass::oid[]) WITH ORDINALITY AS c (class, position),
             pg_opclass s, pg_amop m, pg_operator o, pg_namespace n
        WHERE i.indrelid = %s::regclass AND i.indisprimary AND s.oid = c.class
          AND m.amopfamily = s.opcfamily AND m.amoplefttype = s.opcintype
          AND m.amoprighttype = s.opcintype AND o.oid = m.amopopr AND n.oid = o.oprnamespace
    ) found GROUP BY position ORDER BY position
"""


def listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    """With commas in between."""
    return sql.SQL(", ").join(parts)


def _text(made_by_postgresql: str) -> sql.SQL:
    """A name, type or expression that needs no quoting, in a statement that has parameters."""
    return sql.SQL(made_by_postgresql.replace("%", "%%"))
