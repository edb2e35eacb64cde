"""A captured table as the database describes it, and the statements that read it."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.errors import ReactiveDemoError

__all__ = ["REMADE", "SETTINGS", "Captured", "NotCapturedError", "Statements", "describe"]


class NotCapturedError(ReactiveDemoError):
    """The table is not captured yet, or not any more: the listener waits until it is."""


REMADE = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)
"""What a session meets when the table, or all of capture, is changed under it."""

SETTINGS = """
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
    SET bytea_output = 'hex'; SET extra_float_digits = 1; SET lc_monetary = 'C';
    SET jit = off; SET max_parallel_workers_per_gather = 0
"""
"""What the text of a key or row may depend on, as the trigger has it; and no start-up costs."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A captured table, as the database describes it; all names are quoted."""

    name: str
    incarnation: str
    """A uuid that is new each time that capture is put on the table."""
    key: str
    """The key as text: an expression on the row `t`."""
    key_columns: list[str]
    key_types: list[str]
    shown: list[str] | None
    """The columns that a cache may see; None for all, also those that are added later."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What every statement may refer to."""
        return {"table": self.name, "incarnation": self.incarnation}


class Statements:
    """The statements for one table."""

    def __init__(self, table: Captured) -> None:
        self._name, self._key = _text(table.name), _text(table.key)
        self._columns = [_text(f"t.{column}") for column in table.key_columns]
        self._types = [_text(kind) for kind in table.key_types]
        self._row: sql.Composable = sql.SQL("row_to_json(t.*)::text")
        if table.shown is not None:
            self._row = sql.SQL("(SELECT row_to_json(r.*) FROM (SELECT {}) r)::text").format(
                _listed(_text(f"t.{column}") for column in table.shown)
            )
        # Two scans of the index: PostgreSQL would read all of it for one condition with OR.
        self.read = sql.SQL(
            """
            SELECT now.snapshot, now.truncated, c.key, CASE WHEN {key} = c.key THEN {row} END,
                   c.version::text, extract(epoch FROM c.changed_at)::text
            FROM (
                SELECT pg_current_snapshot()::text AS snapshot,
                       CASE WHEN k.truncated_xid >= %(xmax)s::xid8
                                 OR k.truncated_xid = ANY (%(in_progress)s::xid8[])
                            THEN k.truncated_version::text END AS truncated
                FROM reactive.captured k
                WHERE k.table_name = %(table)s AND k.incarnation = %(incarnation)s
                  AND k.pruned_xid < %(xmin)s::xid8
            ) now
            LEFT JOIN ((
                SELECT key, version, changed_at FROM reactive.change
                WHERE table_name = %(table)s AND xid = ANY (%(in_progress)s::xid8[])
                UNION ALL
                SELECT key, version, changed_at FROM reactive.change
                WHERE table_name = %(table)s AND xid >= %(xmax)s::xid8
            ) c LEFT JOIN {table} t ON {same}) ON true
            """
        ).format(key=self._key, row=self._row, table=self._name, same=self._same())
        self.read_some = sql.SQL("{} LIMIT %(some)s").format(self.read)
        self.prune = sql.SQL(
            """
            WITH pruned AS (
                DELETE FROM reactive.change WHERE table_name = %(table)s AND key IN (
                    SELECT c.key FROM reactive.change c LEFT JOIN {table} t ON {same}
                    WHERE c.table_name = %(table)s AND c.xid < %(xmin)s::xid8 AND {absent}
                      AND c.changed_at < now() - %(kept_for)s::interval
                    LIMIT %(at_once)s FOR UPDATE OF c SKIP LOCKED
                ) RETURNING xid
            )
            UPDATE reactive.captured k
            SET pruned_xid = greatest(
                k.pruned_xid, (SELECT xid FROM pruned ORDER BY xid DESC LIMIT 1))
            WHERE k.table_name = %(table)s AND EXISTS (SELECT FROM pruned)
            RETURNING (SELECT count(*) FROM pruned)
            """
        ).format(
            table=self._name,
            same=self._same(),
            absent=sql.SQL("{} IS NULL").format(self._columns[0]),
        )
        self.arm = sql.SQL("SELECT pg_try_advisory_lock(reactive.bell(%(table)s))").format()
        self.disarm = sql.SQL("SELECT pg_advisory_unlock(reactive.bell(%(table)s))").format()
        self.estimate = sql.SQL(
            "SELECT coalesce(sum(reltuples), 0)::bigint FROM pg_class WHERE oid IN"
            " (SELECT relid FROM pg_partition_tree(%(table)s) WHERE isleaf)"
        ).format()
        self.incarnation = sql.SQL(
            "SELECT concat_ws('/', s.system_identifier, d.oid,"
            " left(pg_walfile_name(pg_current_wal_lsn()), 8), k.incarnation)"
            " FROM pg_control_system() s, pg_database d, reactive.captured k"
            " WHERE d.datname = current_database()"
            " AND k.table_name = %(table)s AND k.incarnation = %(incarnation)s"
        ).format()
        self.now = sql.SQL(
            "SELECT k.pruned_xid::text, pg_current_snapshot()::text"
            " FROM reactive.captured k WHERE k.table_name = %(table)s"
        ).format()

    def page(self, *, first: bool) -> sql.Composed:
        """The next rows in the order of their keys, after the key `last`."""
        columns = _listed(self._columns)
        after: sql.Composable = sql.SQL("true")
        if not first:
            last = _listed(self._parts(sql.SQL("%(last)s::text")))
            after = sql.SQL("({}) > ({})").format(columns, last)
        return sql.SQL(
            """
            SELECT p.key, p.row, coalesce(c.version, 0)::text FROM (
                SELECT {key} AS key, {row} AS row, row_number() OVER (ORDER BY {columns}) AS n
                FROM {table} t WHERE {after} ORDER BY {columns} LIMIT %(rows)s
            ) p LEFT JOIN reactive.change c ON c.table_name = %(table)s AND c.key = p.key
            ORDER BY p.n
            """
        ).format(key=self._key, row=self._row, table=self._name, after=after, columns=columns)

    def _same(self) -> sql.Composed:
        """The condition by which row `t` is found; equal, it may still be written otherwise."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(column, part)
            for column, part in zip(self._columns, self._parts(sql.SQL("c.key")), strict=True)
        )

    def _parts(self, key: sql.SQL) -> list[sql.Composed]:
        """The key's columns, taken out of its text form and typed."""
        if len(self._types) == 1:
            return [sql.SQL("{}::{}").format(key, self._types[0])]
        return [
            sql.SQL("({}::jsonb ->> {})::{}").format(key, sql.Literal(n), kind)
            for n, kind in enumerate(self._types)
        ]


def _text(made_by_postgresql: str) -> sql.SQL:
    """A name, type or expression that needs no quoting, in a statement that has parameters."""
    return sql.SQL(made_by_postgresql.replace("%", "%%"))


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def describe(connection: psycopg.Connection[Any], table: str) -> Captured:
    """Say what `table` is; from here on, every name in a statement must be qualified."""
    found = None
    with suppress(*REMADE):
        named = connection.execute("SELECT reactive.name_of(%s::regclass)", [table]).fetchone()
        connection.execute("SET search_path = pg_catalog")
        found = connection.execute(DESCRIPTION, named).fetchone()
    if found is None:
        raise NotCapturedError(
            f"The table {table} is not captured in this database: run "
            f"`reactive-demo install --table {table}`, or `install(database_url)`."
        )
    return Captured(*found)


DESCRIPTION = """
    SELECT k.table_name, k.incarnation::text, reactive.key_of(a.attrelid, 't'),
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
    GROUP BY k.table_name, a.attrelid
    HAVING k.key_columns = reactive.key_columns(a.attrelid)
"""
