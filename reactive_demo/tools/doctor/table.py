"""What the doctor examines in a table: what would hinder following it, before anything is changed.

The verdict is that of `install` itself: its functions are asked in a transaction that is rolled
back.
"""

from collections.abc import Iterator
from typing import Any

import psycopg

from reactive_demo.capture.install import change_schema, execute_files
from reactive_demo.capture.schema import missing_table, resolve
from reactive_demo.errors import ReactiveDemoError, first_line
from reactive_demo.feeds.installed import installed
from reactive_demo.postgres import open_postgres
from reactive_demo.tools.doctor.report import Line, State
from reactive_demo.tools.rights import lacking, lacking_to_install

__all__ = ["examine"]

LARGE_ROW = 10_000
"""Bytes of the average row from which on leaving a column out is worth a thought."""

FACTS = """
    SELECT c.relpersistence, pg_catalog.row_security_active(c.oid), (
        SELECT pg_catalog.sum(p.reltuples) FROM pg_catalog.pg_class p WHERE p.reltuples >= 0
        AND p.relkind = 'r' AND p.oid IN (
            SELECT c.oid UNION ALL SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))
    )::bigint, (
        SELECT pg_catalog.sum(s.avg_width) FROM pg_catalog.pg_stats s
        WHERE s.schemaname = n.nspname AND s.tablename = c.relname
    ), ARRAY(
        SELECT a.attname::text FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attname ~* '(passw|secret|token|api_?key|_hash$)' ORDER BY a.attnum)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = pg_catalog.to_regclass(%s)
"""


class _Undo(Exception):
    """The end of a rehearsal."""


def examine(database_url: str, table: str) -> Iterator[Line]:
    """Yield the lines about `table`. Nothing is changed, and no lock of the table is taken."""
    try:
        with open_postgres(database_url, "doctor") as connection:
            if (name := resolve(connection, table)) is None:
                yield Line(table, State.MEND, missing_table(connection, table))
                return
            yield from _rehearsed(database_url, name)
            yield from _facts(connection, name)
            yield _installed(connection, name)
    except (ReactiveDemoError, psycopg.Error) as error:
        yield Line(table, State.MEND, first_line(error))


def _rehearsed(database_url: str, name: str) -> Iterator[Line]:
    """Yield what `install` would say of the table."""
    if missing := lacking_to_install(database_url, name):
        words = f"to install capture, this account needs GRANT {'; GRANT '.join(missing)}."
        yield Line("install", State.WARNING, words)
        return
    found: list[Line] = []

    def rehearse(connection: "psycopg.Connection[Any]") -> None:
        connection.execute("CREATE SCHEMA IF NOT EXISTS reactive")
        execute_files(connection, ["04_table.sql"])
        try:
            connection.execute("SELECT reactive.check_table(%s::regclass)", [name])
        except psycopg.DatabaseError as error:
            why, how = error.diag.message_primary, error.diag.message_hint
            found.append(Line("install", State.MEND, f"{why}. {how or ''}".strip()))
            raise _Undo from None
        key = connection.execute("SELECT reactive.key_columns(%s::regclass)", [name]).fetchone()
        columns = ", ".join(key[0]) if key else ""
        found.append(Line("install", State.OK, f"{name} can be followed, by its key ({columns})"))
        raise _Undo

    try:
        change_schema(database_url, f"table {name}", rehearse)
    except _Undo:
        yield from found


def _facts(connection: "psycopg.Connection[Any]", name: str) -> Iterator[Line]:
    """Yield what does not hinder, and is good to know."""
    persistence, hides, rows, width, secrets = (
        connection.execute(FACTS, [name]).fetchone() or (None,) * 5
    )
    if rows is None or width is None:
        yield Line("rows", State.OK, "not counted yet; `ANALYZE` the table to see how many")
    elif width > LARGE_ROW:
        words = (
            f"about {rows:,}, of {width:,} bytes each, which all go into the cache: leave large "
            "columns out with `--exclude`."
        )
        yield Line("rows", State.WARNING, words)
    else:
        yield Line("rows", State.OK, f"about {rows:,}, of {width:,} bytes each")
    if secrets:
        words = (
            f"{', '.join(secrets)}: everybody who can read the cache would see that; if it is "
            "secret, leave it out with `--exclude`."
        )
        yield Line("columns", State.WARNING, words)
    if hides:
        words = (
            "a policy may hide rows from this account, which would be taken for deleted: give the "
            "listener's account BYPASSRLS."
        )
        yield Line("row security", State.WARNING, words)
    if persistence == "u":
        words = (
            "the table is unlogged: PostgreSQL empties it after a crash without announcing it, so "
            "run `reactive-demo resync` then."
        )
        yield Line("durability", State.WARNING, words)


def _installed(connection: "psycopg.Connection[Any]", name: str) -> Line:
    """Return how the table is followed now, and what its listener would lack."""
    if not (kinds := installed(connection, name)):
        return Line("capture", State.OK, "not installed yet")
    if missing := lacking(connection, name, kinds):
        words = f"to run a listener, this account needs GRANT {'; GRANT '.join(missing)}."
        return Line("capture", State.WARNING, words)
    return Line("capture", State.OK, f"installed: changes are in the {' and in the '.join(kinds)}")
