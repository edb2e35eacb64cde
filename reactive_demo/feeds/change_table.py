"""The durable way: a table says what changed, the notification only rings the bell.

Nothing is lost, whoever was away: the session reads what it has not seen, by a cursor that the
cache keeps beside the data. A ring saves it the waiting; a slow poll is the guarantee.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.cache import Cache
from reactive_demo.changes import Batch, Position, Versioned
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.feeds.session import Session
from reactive_demo.state import State
from reactive_demo.stopping import StopEvent

__all__ = ["ChangeTableFeed", "NotCapturedError"]

CHANNEL = "reactive_change"

HEARTBEAT = 2.0
"""Seconds a session sleeps at most: then it reads, whether or not somebody rang."""

FIRST_WAIT, LONGEST_WAIT = 0.001, 0.020
"""Seconds between two reads while a writer who did not ring is still at work."""

BATCH_ROWS, BATCH_BYTES = 500, 1_000_000
"""What the cache takes at once, at most."""

PAGE_ROWS = 5_000
"""Rows read at once when the whole table is read."""


class NotCapturedError(ReactiveDemoError):
    """The table is not captured yet, or not any more: the listener waits until it is."""


class ChangeTableFeed:
    """The changes of any captured table, from `reactive.change` (see `sql/04_change.sql`)."""

    def __init__(self, database_url: str, table: str = "profile") -> None:
        self.database_url = database_url
        self.table = table

    def open(self) -> "ChangeTableSession":
        """Connect and LISTEN. Raises NotCapturedError if the table is not captured."""
        return ChangeTableSession(self)

    def __repr__(self) -> str:
        return f"ChangeTableFeed({self.table})"


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a reader has seen: a whole snapshot, since transactions do not end in order.

    Not yet seen is what had not begun then, and what was in progress.
    """

    snapshot: str
    """As PostgreSQL prints a pg_snapshot: `xmin:xmax:xip,xip,...`."""

    @property
    def unseen(self) -> dict[str, Any]:
        """The parameters of the read that follows."""
        _, xmax, in_progress = self.snapshot.split(":")
        return {"xmax": xmax, "in_progress": [xid for xid in in_progress.split(",") if xid]}


class ChangeTableSession(Session):
    """A connection that reads the change table, and sleeps armed when there is nothing to read."""

    def __init__(self, feed: ChangeTableFeed) -> None:
        super().__init__(feed.database_url, feed.table, CHANNEL)
        try:
            name = _captured_name(self._connection, feed.table)
            for setting in SETTINGS:
                self._connection.execute(setting)
            self._statements = Statements(self._connection, name)
        except BaseException:
            self._connection.close()
            raise
        self._cursor = Cursor("0:0:")

    def batches(self, cache: Cache, stopping: StopEvent) -> Iterator[Batch]:
        """Yield what the cache does not have yet, then what changes, until `stopping`."""
        position, filled = self._position(cache)
        if not filled:
            yield from self._fill(position)
        wait = FIRST_WAIT
        while not stopping.is_set():
            found = False
            for batch in self._read(position):
                found = True
                yield batch
            if found:
                wait = FIRST_WAIT
                continue
            yield Batch(State.LIVE)
            if not self._arm():  # a writer is at work who will not ring
                stopping.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            try:
                rung = self._unseen() or self._sleep(stopping)
            finally:
                self._disarm()
            if (
                not rung
            ):  # a sign of life: is this still the leader, does Redis still hold the data?
                yield Batch(State.LIVE, position=position, cursor=self._cursor.snapshot)

    # Reading

    def _position(self, cache: Cache) -> tuple[Position, bool]:
        """Take the lead in the cache; whether its cursor can be followed from where it is."""
        incarnation, pruned, now = self._one(self._statements.incarnation)
        position = cache.take_over(incarnation)
        if position.cursor is not None:
            xmin, xmax, _ = position.cursor.split(":")
            if int(pruned) < int(xmin) and int(xmax) <= int(now.split(":")[1]):
                self._cursor = Cursor(position.cursor)
                return position, True
        # There is none, its changes have been pruned, or the database is older than the cache.
        self._cursor = Cursor(now)
        return cache.take_over(incarnation, anew=True), False

    def _fill(self, position: Position) -> Iterator[Batch]:
        """Read the whole table, page by page, each row with the version that it has."""
        last, count = None, 0
        total = max(int(self._one(self._statements.estimate)[0]), 0)
        while True:
            page = self._connection.execute(
                self._statements.page(first=last is None), {"last": last, "rows": PAGE_ROWS}
            ).fetchall()
            for start in range(0, len(page), BATCH_ROWS):
                changes = [Versioned._make(row) for row in page[start : start + BATCH_ROWS]]
                count += len(changes)
                note = f"filling the cache, {count:,} of about {max(total, count):,}"
                yield Batch(State.CATCHING_UP, changes, position=position, note=note)
            if len(page) < PAGE_ROWS:
                break
            last = page[-1][0]
        yield Batch(State.CATCHING_UP, position=position, below="0", note="removing what is gone")
        yield Batch(State.CATCHING_UP, position=position, cursor=self._cursor.snapshot)

    def _read(self, position: Position) -> Iterator[Batch]:
        """Read what was not seen, as one statement has it, and move on."""
        with self._connection.cursor() as reader:
            changes: list[Versioned] = []
            size, seen, swept, found = 0, "", False, False
            for snapshot, truncated, key, row, version in reader.stream(
                self._statements.read, self._cursor.unseen, size=BATCH_ROWS
            ):
                seen = snapshot
                if truncated is not None and not swept:
                    swept = found = True
                    yield Batch(State.LIVE, position=position, below=truncated)
                if key is None:
                    continue
                changes.append(Versioned(key, row, version))
                size += len(row or "")
                if len(changes) >= BATCH_ROWS or size >= BATCH_BYTES:
                    yield Batch(State.CATCHING_UP, changes, position=position)
                    changes, size, found = [], 0, True
        self._cursor = Cursor(seen)
        if changes or found:
            yield Batch(State.LIVE, changes, position=position, cursor=seen)

    def _unseen(self) -> bool:
        """Whether there is anything to read, by a snapshot that is taken after arming."""
        return bool(self._one(self._statements.unseen, self._cursor.unseen)[0])

    # Sleeping

    def _arm(self) -> bool:
        """Hold the bell, so that whoever writes from now on rings; not while one is writing."""
        return bool(self._one(self._statements.arm)[0])

    def _disarm(self) -> None:
        self._connection.execute(self._statements.disarm)

    def _sleep(self, stopping: StopEvent) -> bool:
        """Wait for a ring for this table; False if there was none."""
        return any(n.payload == self._statements.name for n in self.heard(stopping, HEARTBEAT))

    def _one(self, statement: sql.Composed, parameters: Any = None) -> tuple[Any, ...]:
        return self._connection.execute(statement, parameters).fetchone() or ()


SETTINGS = (
    b"SET search_path = pg_catalog",
    b"SET TimeZone = 'UTC'",
    b"SET DateStyle = 'ISO'",
    b"SET jit = off",
    # A generic plan does not know how short the list of transactions is.
    b"SET plan_cache_mode = force_custom_plan",
    b"SET idle_session_timeout = '%d ms'" % (3000 * HEARTBEAT),  # a frozen leader loses its locks
)


class Statements:
    """The statements for one table, made from what its catalogue says."""

    def __init__(self, connection: psycopg.Connection[Any], qualified: str) -> None:
        self.name = qualified
        self._columns, self._types, excluded = self._facts(connection)
        self._table = sql.SQL(qualified)  # quoted by PostgreSQL
        name = sql.Literal(self.name)
        present = sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(self._columns[0]))
        row: sql.Composable = sql.SQL("row_to_json(t)::text")
        if excluded:
            row = sql.SQL("(to_jsonb(t) - {}::text[])::text").format(sql.Literal(excluded))
        self._row = row
        changed = sql.SQL("(c.xid >= %(xmax)s::xid8 OR c.xid = ANY (%(in_progress)s::xid8[]))")
        truncated = sql.SQL(
            "(k.truncated_xid >= %(xmax)s::xid8 OR k.truncated_xid = ANY (%(in_progress)s::xid8[]))"
        )
        self.read = sql.SQL(
            """
            SELECT now.snapshot, now.truncated, c.key,
                   CASE WHEN {present} THEN {row} END, c.version::text
            FROM (
                SELECT pg_current_snapshot()::text AS snapshot, (
                    SELECT k.truncated_version::text FROM reactive.captured k
                    WHERE k.table_name = {name} AND {truncated}) AS truncated
            ) now
            LEFT JOIN (reactive.change c LEFT JOIN {table} t ON {same})
            ON c.table_name = {name} AND {changed}
            """
        ).format(
            present=present,
            row=row,
            name=name,
            truncated=truncated,
            changed=changed,
            table=self._table,
            same=self._same(sql.SQL("c.key")),
        )
        self.unseen = sql.SQL(
            "SELECT EXISTS (SELECT FROM reactive.change c"
            " WHERE c.table_name = {name} AND {changed}) OR EXISTS (SELECT FROM reactive.captured k"
            " WHERE k.table_name = {name} AND {truncated})"
        ).format(name=name, changed=changed, truncated=truncated)
        self.arm = sql.SQL("SELECT pg_try_advisory_lock(reactive.bell({}))").format(name)
        self.disarm = sql.SQL("SELECT pg_advisory_unlock(reactive.bell({}))").format(name)
        self.estimate = sql.SQL(
            "SELECT coalesce(sum(reltuples), 0)::bigint FROM pg_class WHERE oid IN"
            " (SELECT relid FROM pg_partition_tree({}) WHERE isleaf)"
        ).format(name)
        self.incarnation = sql.SQL(
            "SELECT s.system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)"
            " || '/' || k.incarnation, k.pruned_xid::text, pg_current_snapshot()::text"
            " FROM pg_control_system() s, reactive.captured k WHERE k.table_name = {}"
        ).format(name)

    def page(self, *, first: bool) -> sql.Composed:
        """The next rows in the order of their keys, after the key `last`."""
        columns = sql.SQL(", ").join(
            sql.SQL("t.{}").format(sql.Identifier(c)) for c in self._columns
        )
        key = (
            sql.SQL("{}::text")
            if len(self._columns) == 1
            else sql.SQL("jsonb_build_array({})::text")
        )
        after: sql.Composable = sql.SQL("true")
        if not first:
            after = sql.SQL("({}) > ({})").format(
                columns, sql.SQL(", ").join(self._parts(sql.SQL("%(last)s::text")))
            )
        return sql.SQL(
            """
            SELECT p.key, p.row, coalesce(c.version, 0)::text FROM (
                SELECT {key} AS key, {row} AS row FROM {table} t
                WHERE {after} ORDER BY {columns} LIMIT %(rows)s
            ) p LEFT JOIN reactive.change c ON c.table_name = {name} AND c.key = p.key
            """
        ).format(
            key=key.format(columns),
            row=self._row,
            table=self._table,
            after=after,
            columns=columns,
            name=sql.Literal(self.name),
        )

    def _same(self, key: sql.SQL) -> sql.Composed:
        """The condition that row `t` has the key that is given as text."""
        return sql.SQL(" AND ").join(
            sql.SQL("t.{} = {}").format(sql.Identifier(column), part)
            for column, part in zip(self._columns, self._parts(key), strict=True)
        )

    def _parts(self, key: sql.SQL) -> list[sql.Composed]:
        """The key's columns, taken out of its text form and typed."""
        if len(self._columns) == 1:
            return [sql.SQL("{}::{}").format(key, sql.SQL(self._types[0]))]
        return [
            sql.SQL("({}::jsonb ->> {})::{}").format(key, sql.Literal(n), sql.SQL(kind))
            for n, kind in enumerate(self._types)
        ]

    def _facts(self, connection: psycopg.Connection[Any]) -> tuple[Any, ...]:
        """The key's columns, their types, and the columns that are left out."""
        (facts,) = connection.execute(
            """
            SELECT k.key_columns, (
                SELECT array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY u.n)
                FROM unnest(k.key_columns) WITH ORDINALITY AS u (name, n), pg_attribute a
                WHERE a.attrelid = k.table_name::regclass AND a.attname = u.name
            ), k.excluded
            FROM reactive.captured k WHERE k.table_name = %s
            """,
            [self.name],
        ).fetchall()
        return tuple(facts)


def _captured_name(connection: psycopg.Connection[Any], table: str) -> str:
    """`table` as the change table knows it, qualified and quoted."""
    found = None
    with suppress(psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction):
        found = connection.execute(
            "SELECT table_name FROM reactive.captured"
            " WHERE table_name = reactive.name_of(%s::regclass)",
            [table],
        ).fetchone()
    if found is None:
        raise NotCapturedError(
            f"The table {table} is not captured in this database: run "
            f"`reactive-demo install --table {table}`, or `install(database_url)`."
        )
    return str(found[0])
