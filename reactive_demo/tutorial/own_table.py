"""The table of chapter 11: one of a small shop that the chapter makes, or the reader's own."""

import os
import subprocess
import sys
from dataclasses import dataclass

import psycopg
from psycopg import sql

from reactive_demo.capture.install import captured_tables, uninstall
from reactive_demo.capture.schema import resolve
from reactive_demo.errors import ReactiveDemoError, RefusedError, first_line
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
    SELECT id, line, product, price FROM shop.orders,
    (VALUES (1, 'a loom', 120.00), (2, 'thread', 4.50)) AS basket (line, product, price);
"""

IN_SHOP = (
    "INSERT INTO shop.orders (customer) VALUES ('grace') RETURNING id",
    (
        "UPDATE shop.orders SET status = CASE status WHEN 'open' THEN 'paid' ELSE 'open' END"
        " WHERE customer = 'ada' RETURNING id"
    ),
    "DELETE FROM shop.orders WHERE customer = 'grace' RETURNING id",
)

COLUMNS = """
    SELECT ARRAY(
        SELECT a.attname::text FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k (number, place),
               pg_attribute a
        WHERE i.indrelid = c AND i.indisprimary AND a.attrelid = c AND a.attnum = k.number
          AND k.place <= i.indnkeyatts ORDER BY k.place
    ), (SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attgenerated = '' AND a.attidentity <> 'a' ORDER BY a.attnum DESC LIMIT 1)
    FROM CAST(%s AS regclass) AS c
"""

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
    """A statement after which a row is another one, or has at least been written."""
    delete: str
    """A statement after which the row of `insert` is gone."""

    @classmethod
    def open(cls, stack: Stack, name: str, change: str | None = None) -> "OwnTable":
        """Make the shop anew, and return its table, or that of the reader by another name.

        Of the reader's table, the statements write one row as it is, except for `change`. Raises
        RefusedError if that table is not there, and if there is a schema `shop` that the tutorial
        did not make.
        """
        try:
            close_shop(stack.database_url)
            with open_postgres(stack.database_url, "stage") as connection:
                _open_shop(connection)
                if name.startswith("shop."):
                    return cls(stack, name, *IN_SHOP)
                if (found := resolve(connection, name)) is None:
                    raise RefusedError(
                        f"There is no table {name} in the database of DATABASE_URL: name another."
                    )
                keys, column = connection.execute(COLUMNS, [found]).fetchone() or ([], None)
                touch = _touching(found, keys, column).as_string(connection)
        except psycopg.Error as error:
            raise RefusedError(
                f"The database refuses ({first_line(error)}): use an account that may create a "
                "schema, or unset DATABASE_URL to use the embedded server."
            ) from None
        return cls(stack, name, touch, change or touch, touch)

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


def _touching(name: str, keys: list[str], column: str | None) -> sql.Composed:
    """Return a statement that writes one row as it is, and returns its key."""
    key = sql.SQL(", ").join(map(sql.Identifier, keys or [column or "?"]))
    which = sql.Identifier(column or "?")
    return sql.SQL(
        "UPDATE {0} SET {1} = {1} WHERE ({2}) IN (SELECT {2} FROM {0} LIMIT 1) RETURNING {2}"
    ).format(sql.SQL(name), which, key)
