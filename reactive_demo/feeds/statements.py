"""The statements that read a captured table."""

from psycopg import sql

from reactive_demo.feeds.captured import Captured, listed

__all__ = ["Statements"]

NEXT = "pg_snapshot_xmax(pg_current_snapshot())"
"""What the statement sees was written by a transaction before this one. A greater number is of
another server, from which the table was brought here by pg_dump: it says nothing."""


class Statements:
    """The statements for one table."""

    def __init__(self, table: Captured) -> None:
        self.table = table
        found = table.found_by(sql.SQL("c.key"))
        shown = sql.SQL("CASE WHEN {} = c.key THEN {} END").format(table.key_text, table.row)
        rows = sql.SQL("LEFT JOIN {} t ON {}").format(table.table, found)
        self.unseen = self._unseen(shown, rows)
        self.unseen_some = sql.SQL("{} LIMIT %(some)s").format(self.unseen)
        self.unseen_keys = self._unseen(sql.SQL("NULL"), sql.SQL(""))
        self.look_up = sql.SQL(
            """
            SELECT c.key, {shown}, coalesce(v.version, 0)::text
            FROM unnest(%(keys)s::text[]) AS c (key) {rows}
            LEFT JOIN reactive.change v ON v.table_name = %(table)s AND v.key = c.key
            """
        ).format(shown=shown, rows=rows)
        self.span = sql.SQL(
            """
            SELECT max(key), count(*) FROM (
                SELECT key FROM reactive.change WHERE table_name = %(table)s AND key >= %(first)s
                ORDER BY key LIMIT %(some)s
            ) looked
            """
        ).format()
        self.prune = sql.SQL(
            """
            WITH pruned AS (
                DELETE FROM reactive.change WHERE table_name = %(table)s AND key IN (
                    SELECT c.key FROM reactive.change c LEFT JOIN {table} t ON {found}
                    WHERE c.table_name = %(table)s AND c.key BETWEEN %(first)s AND %(last)s
                      AND c.xid < %(xmin)s::xid8 AND {absent}
                      AND c.changed_at < now() - %(kept_for)s::interval
                    FOR UPDATE OF c SKIP LOCKED
                ) RETURNING xid
            )
            UPDATE reactive.captured k
            SET pruned_xid = greatest(
                k.pruned_xid, (SELECT xid FROM pruned ORDER BY xid DESC LIMIT 1))
            WHERE k.table_name = %(table)s AND EXISTS (SELECT FROM pruned)
            """
        ).format(
            table=table.table, found=found, absent=sql.SQL("{} IS NULL").format(table.columns[0])
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
            " AND EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = k.table_name::regclass"
            " AND g.tgname = 'reactive_capture' AND g.tgenabled IN ('A', 'O'))"
        ).format()
        self.now = sql.SQL(
            "SELECT k.pruned_xid::text, pg_current_snapshot()::text"
            " FROM reactive.captured k WHERE k.table_name = %(table)s"
        ).format()

    def page(self, *, first: bool, shown: bool) -> sql.Composed:
        """The next rows in the order of their keys, after the key `last`; shown, or keys only."""
        table = self.table
        columns = listed(table.columns)
        after: sql.Composable = sql.SQL("true")
        if not first:
            after = table.after(sql.SQL("%(last)s::text"))
        return sql.SQL(
            """
            SELECT p.key, p.row, coalesce(c.version, 0)::text, NULL FROM (
                SELECT {key} AS key, {row} AS row, row_number() OVER (ORDER BY {columns}) AS n
                FROM {table} t WHERE {after} ORDER BY {columns} LIMIT %(rows)s
            ) p LEFT JOIN reactive.change c ON c.table_name = %(table)s AND c.key = p.key
            ORDER BY p.n
            """
        ).format(
            key=table.key_text,
            row=table.row if shown else sql.SQL("NULL"),
            table=table.table,
            after=after,
            columns=columns,
        )

    def one(self) -> sql.Composed:
        """The row of `key`, whether it ever changed or not, and whose it is."""
        table, key = self.table, sql.SQL("%(key)s::text")
        return sql.SQL(
            """
            SELECT i.incarnation, CASE WHEN {written} = {key} THEN {row} END,
                   coalesce(c.version, 0)::text
            FROM ({incarnation}) i (incarnation)
            LEFT JOIN {table} t ON {found}
            LEFT JOIN reactive.change c ON c.table_name = %(table)s AND c.key = {key}
            """
        ).format(
            incarnation=self.incarnation,
            written=table.key_text,
            key=key,
            row=table.row,
            table=table.table,
            found=table.found_by(key),
        )

    def _unseen(self, shown: sql.Composable, rows: sql.Composable) -> sql.Composed:
        """What was not seen, each key with what is `shown` of its row, which `rows` joins."""
        # Two scans of the index: PostgreSQL would read all of it for one condition with OR.
        return sql.SQL(
            """
            SELECT c.key, {shown}, c.version::text, extract(epoch FROM c.changed_at)::text,
                   now.snapshot, now.truncated
            FROM (
                SELECT pg_current_snapshot()::text AS snapshot,
                       CASE WHEN k.truncated_xid >= %(xmax)s::xid8 AND k.truncated_xid < {next}
                                 OR k.truncated_xid = ANY (%(in_progress)s::xid8[])
                            THEN k.truncated_version::text END AS truncated
                FROM reactive.captured k
                WHERE k.table_name = %(table)s AND k.incarnation = %(incarnation)s
                  AND (k.pruned_xid < %(xmin)s::xid8 OR k.pruned_xid >= {next})
            ) now
            LEFT JOIN (
                SELECT key, version, changed_at FROM reactive.change
                WHERE table_name = %(table)s AND xid = ANY (%(in_progress)s::xid8[])
                UNION ALL
                SELECT key, version, changed_at FROM reactive.change
                WHERE table_name = %(table)s AND xid >= %(xmax)s::xid8 AND xid < {next}
            ) c ON true {rows}
            """
        ).format(shown=shown, rows=rows, next=sql.SQL(NEXT))
