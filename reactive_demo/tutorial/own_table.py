"""The table of chapter 11: one of a small shop that the chapter makes, or the reader's own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import psycopg
from psycopg import sql

from reactive_demo.capture.install import captured_tables, uninstall
from reactive_demo.capture.schema import missing_table, resolve
from reactive_demo.errors import ReactiveDemoError, RefusedError, first_line
from reactive_demo.keys import key_text
from reactive_demo.postgres import open_postgres
from reactive_demo.servers import Stack

__all__ = ["SHOP", "OwnTable", "close_shop"]

MARK = "reactive_demo: a shop of the tutorial, made anew whenever chapter 11 begins"
"""The comment on a schema that the tutorial made; no other is ever dropped."""

SHOP = """\
CREATE TABLE shop.orders (
    id       uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer text NOT NULL,
    status   text NOT NULL DEFAULT 'open'
);
CREATE TABLE shop.order_item (
    order_id uuid REFERENCES shop.orders ON DELETE CASCADE,
    line     int,
    product  text,
    price    numeric(10,2)
);
INSERT INTO shop.orders (customer) VALUES ('ada'), ('alan');
INSERT INTO shop.order_item
    SELECT id, line, product, price
    FROM shop.orders, (VALUES (1, 'a loom', 120.00), (2, 'thread', 4.50))
        AS basket (line, product, price);
"""

IN_SHOP = (
    "INSERT INTO shop.orders (customer) VALUES ('grace') RETURNING id",
    (
        "UPDATE shop.orders\n"
        "SET status = CASE status WHEN 'open' THEN 'paid' ELSE 'open' END\n"
        "WHERE customer = 'ada' RETURNING id"
    ),
    "DELETE FROM shop.orders WHERE customer = 'grace' RETURNING id",
)

COLUMNS = """
    SELECT ARRAY(
        SELECT a.attname::text FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k (number, place),
               pg_attribute a
        WHERE i.indrelid = c AND i.indisprimary AND a.attrelid = c AND a.attnum = k.number
          AND k.place <= i.indnkeyatts ORDER BY k.place
    ), a.attname::text, k.kind
    FROM CAST(%s AS regclass) AS c
    LEFT JOIN pg_attribute a ON a.attrelid = c AND a.attnum > 0 AND NOT a.attisdropped
         AND a.attgenerated = '' AND a.attidentity <> 'a'
    LEFT JOIN pg_type t ON t.oid = a.atttypid
    CROSS JOIN LATERAL (SELECT CASE
        WHEN t.typname IN ('timestamp', 'timestamptz') THEN 'moment'
        WHEN t.typcategory = 'B' THEN 'truth' WHEN t.typcategory = 'N' THEN 'number' END) k (kind)
    LEFT JOIN pg_index i ON i.indrelid = c AND i.indisprimary
    ORDER BY a.attnum = ANY (i.indkey), array_position('{truth,number,moment}', k.kind), a.attnum
    LIMIT 1
"""
"""The columns of the key, and one to write: outside of the key, and easily made another."""

ANOTHER = {
    "truth": "{0} IS NOT TRUE",
    "number": "coalesce({0}, 0) + 1",
    "moment": "clock_timestamp()",
}
"""Another value of a column, by the kind of its type."""

EMBEDDED = " (It is the embedded one: for yours, start JupyterLab with DATABASE_URL set.)"

UNTIL_LEFT_ALONE = """
import os, signal, sys, threading
def end():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=end, daemon=True).start()
from reactive_demo.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""The command line, which ends with the notebook that holds the other end of its input."""


@dataclass(frozen=True)
class OwnTable:
    """A table to follow, and statements that an application of it could run."""

    stack: Stack
    name: str
    insert: str
    """A statement after which a row is there."""
    change: str
    """A statement after which a row is another one; it returns the row's key."""
    delete: str
    """A statement after which the row of `insert` is gone."""

    @classmethod
    def open(cls, stack: Stack, name: str, change: str | None = None) -> "OwnTable":
        """Make the shop anew, and return its table, or that of the reader by another name.

        Of the reader's table, `change` is theirs, and is tried in a transaction that is rolled
        back; the other statements write one row as it is. Raises RefusedError if that table is not
        there or has no key, if `change` does not do, and if there is a schema `shop` that the
        tutorial did not make.
        """
        try:
            close_shop(stack.database_url)
            with open_postgres(stack.database_url, "stage") as connection:
                _open_shop(connection)
                if name.startswith("shop."):
                    return cls(stack, name, *IN_SHOP)
                if (found := resolve(connection, name)) is None:
                    embedded = "" if os.environ.get("DATABASE_URL") else EMBEDDED
                    raise RefusedError(missing_table(connection, name) + embedded)
                keys, column, kind = connection.execute(COLUMNS, [found]).fetchone() or ([], "", "")
                write = partial(_writing, found, keys, column or "?")
        except psycopg.Error as error:
            raise RefusedError(
                f"The database refuses ({first_line(error)}): use an account that may create a "
                "schema, or unset DATABASE_URL to use the embedded server."
            ) from None
        if not keys:
            raise RefusedError(
                f"The table {found} has no primary key, and a cached row is found by its key: give "
                "it one, and run this cell again."
            )
        if change is None:
            example = write(ANOTHER.get(kind, "..."))
            raise RefusedError(
                f"{found} is yours, and no value in it is changed unasked: name a statement that "
                f"makes one row another and returns its key, such as CHANGE = {example!r}"
            )
        _try_out(stack.database_url, change, keys)
        return cls(stack, name, write("{0}"), change, write("{0}"))

    def run(self, *arguments: str) -> str:
        """Run `reactive-demo ARGUMENTS` on these servers; return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "reactive_demo", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ReactiveDemoError(done.stderr.strip())
        return done.stdout.strip()

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start `reactive-demo ARGUMENTS` as a process of its own, which ends with this one."""
        return subprocess.Popen(
            [sys.executable, "-c", UNTIL_LEFT_ALONE, *arguments],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def _environment(self) -> dict[str, str]:
        urls = {"DATABASE_URL": self.stack.database_url, "REDIS_URL": self.stack.redis_url}
        return {**os.environ, **urls}

    def __repr__(self) -> str:
        whose = "made for this chapter" if self.insert != self.delete else "your own"
        return f"{self.name}, {whose}"


def close_shop(database_url: str) -> None:
    """Take capture off the shop's tables, and drop them with their schema.

    Raises RefusedError if there is a schema `shop` that the tutorial did not make.
    """
    with open_postgres(database_url, "stage") as connection:
        found = connection.execute(
            "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'shop'"
        ).fetchone()
        if not found:
            return
        if found[0] != MARK:
            raise RefusedError(
                "There is a schema `shop` in this database already, and the tutorial did not make "
                "it: rename it, or point DATABASE_URL to another database."
            )
        for table in captured_tables(database_url):
            if table.startswith("shop."):
                uninstall(database_url, table)
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP SCHEMA shop CASCADE")


def _open_shop(connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute("CREATE SCHEMA shop")
        connection.execute(sql.SQL("COMMENT ON SCHEMA shop IS {}").format(MARK))
        connection.execute(SHOP.encode())


def _writing(name: str, keys: list[str], column: str, value: str) -> str:
    """Return a statement that writes a value into the row that comes first; it returns the key."""
    written, key = sql.Identifier(column), sql.SQL(", ").join(map(sql.Identifier, keys))
    statement = sql.SQL(
        "UPDATE {0} SET {1} = {2} WHERE ({3}) IN (SELECT {3} FROM {0} ORDER BY {3} LIMIT 1)"
        " RETURNING {3}"
    )
    return statement.format(sql.SQL(name), written, sql.SQL(value).format(written), key).as_string()


def _try_out(database_url: str, change: str, keys: list[str]) -> None:
    """Refuse a statement that does not change a row and return its key, as the chapter needs it."""
    key = sql.SQL(", ").join(map(sql.Identifier, keys)).as_string()
    returning = f"let it end in RETURNING {key}"
    try:
        with psycopg.connect(database_url) as connection:
            changed = connection.execute(change.encode())
            row = changed.fetchone() if changed.description else ()
            connection.rollback()
        if row is None:
            raise RefusedError("CHANGE changes no row: name one that is there.")
        if len(row) != len(keys):
            raise RefusedError(f"CHANGE does not return the key: {returning}.")
        key_text(row)
    except psycopg.Error as error:
        raise RefusedError(f"CHANGE fails ({first_line(error)}): mend it.") from None
    except TypeError:
        raise RefusedError(
            f"CHANGE returns {row!r}, and of a value of that type only PostgreSQL can say how it "
            f"looks in a key: {returning.replace(', ', '::text, ')}::text."
        ) from None
