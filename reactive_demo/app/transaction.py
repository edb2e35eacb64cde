"""A transaction of your own, and the versions of what it wrote, to wait for."""

from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from reactive_demo.app.increments import LOG_END
from reactive_demo.errors import NotCapturedError, ReactiveDemoError, RefusedError
from reactive_demo.keys import Key, key_text
from reactive_demo.log_versions import version_to_await

__all__ = ["Transaction"]


class Transaction:
    """A transaction on a psycopg connection of yours that knows the versions of what it wrote.

        with Transaction(connection, "orders", "order_item") as written:
            connection.execute("UPDATE order_item SET ...")
        cache.wait_for((order, 1), written.version((order, 1), "order_item"))

    It commits at the end of the block, or rolls back if the block raises. Whether listeners read
    the tables' changes in a change table or in the log makes no difference. Raises NotCapturedError
    for a table that no durable feed can follow.
    """

    def __init__(self, connection: psycopg.Connection[Any], *tables: str) -> None:
        self._connection = connection
        self._tables = tables
        self._block = connection.transaction()
        self._names: dict[str, str] = {}
        self._in_log: set[str] = set()
        self._made: dict[tuple[str, str], int] = {}
        self._committed: int | None = None

    def version(self, key: Key, table: str | None = None) -> int:
        """Return the version to pass to `Cache.wait_for`, once the transaction has committed.

        `table` is needed if there are several. Raises ReactiveDemoError for a row that the
        transaction did not change.
        """
        if self._committed is None:
            raise ReactiveDemoError("The transaction has not committed: ask after its block.")
        if table is None and len(self._tables) != 1:
            raise ReactiveDemoError(f"Say which table it is: one of {', '.join(self._tables)}.")
        name = table or self._tables[0]
        if name not in self._names:
            raise ReactiveDemoError(f"The transaction was not told of {name}: name it first.")
        made = self._made.get((self._names[name], key_text(key)))
        if made is None and name in self._in_log:
            return self._committed
        if made is None:
            raise ReactiveDemoError(
                f"The transaction changed no row of {name} with the key {key}: see whether the key "
                "is right, and know that an UPDATE that leaves a row as it was makes no version."
            )
        return made

    def __enter__(self) -> Self:
        if self._connection.info.transaction_status is not TransactionStatus.IDLE:
            raise ReactiveDemoError(
                "This connection is in a transaction, whose end decides: commit it first."
            )
        self._block.__enter__()
        try:
            for table in self._tables:
                self._examine(table)
        except BaseException as error:
            self._block.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            captured = [name for table, name in self._names.items() if table not in self._in_log]
            if error is None and captured:
                self._made = {(name, key): made for name, key, made in self._ask(MADE, captured)}
        except BaseException as failed:
            self._block.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._block.__exit__(kind, error, trace)
        if error is None:
            self._committed = 0
            if self._in_log:
                with self._connection.transaction():
                    ((end,),) = self._ask(LOG_END)
                self._committed = version_to_await(int(end), int(end))

    def _examine(self, table: str) -> None:
        """See how the table's changes are followed."""
        name, is_captured, is_published, may_read = next(
            iter(self._ask(HOW, table)), (table, False, False, False)
        )
        if not (is_captured or is_published):
            raise NotCapturedError(
                f"No durable feed can follow the table {table}: run "
                f"`reactive-demo install --table {table}`."
            )
        if is_captured and not may_read:
            raise RefusedError(
                "This account may not read the versions: GRANT USAGE ON SCHEMA reactive and "
                "SELECT ON reactive.change to it."
            )
        self._names[table] = str(name)
        if not is_captured:
            self._in_log.add(table)

    def _ask(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        with self._connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(statement.encode(), arguments or None).fetchall()


# Qualified throughout: the connection is the caller's.
HOW = """
    SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname), EXISTS (
        SELECT FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid
          AND t.tgname OPERATOR(pg_catalog.=) 'reactive_capture'
    ), EXISTS (
        SELECT FROM pg_catalog.pg_publication_rel r
        JOIN pg_catalog.pg_publication p ON p.oid OPERATOR(pg_catalog.=) r.prpubid
        WHERE r.prrelid OPERATOR(pg_catalog.=) c.oid
          AND pg_catalog.starts_with(p.pubname::pg_catalog.text, 'reactive_')
    ), COALESCE(pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace('reactive'), 'USAGE')
        AND pg_catalog.has_table_privilege(pg_catalog.to_regclass('reactive.change'), 'SELECT'),
        false)
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s)::pg_catalog.oid
"""
MADE = """
    SELECT c.table_name, c.key, pg_catalog.max(c.version) FROM reactive.change c
    WHERE c.table_name OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.text[])
      AND c.xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id_if_assigned()
      AND c.key IS NOT NULL
    GROUP BY c.table_name, c.key
"""
