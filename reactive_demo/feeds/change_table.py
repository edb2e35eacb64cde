"""The durable way: a table says what changed, the notification only rings the bell.

Nothing is lost, whoever was away: the session reads what it has not seen, by a cursor that the
cache keeps beside the data. A ring saves it the waiting; a slow poll is the guarantee.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
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

    kind = "change table"

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
    def xmin(self) -> int:
        """The oldest transaction that was in progress."""
        return int(self.snapshot.split(":")[0])

    @property
    def xmax(self) -> int:
        """The first that had not begun."""
        return int(self.snapshot.split(":")[1])

    @property
    def unseen(self) -> dict[str, Any]:
        """The parameters of the read that follows."""
        in_progress = self.snapshot.split(":")[2].split(",")
        return {"xmax": str(self.xmax), "in_progress": [xid for xid in in_progress if xid]}


class ChangeTableSession(Session):
    """A connection that reads the change table, and sleeps armed when there is nothing to read."""

    def __init__(self, feed: ChangeTableFeed) -> None:
        super().__init__(feed.database_url, feed.table, CHANNEL)
        try:
            self._table = _captured(self._connection, feed.table)
            for setting in SETTINGS:
                self._connection.execute(setting)
            self._connection.execute(FROZEN, [f"{3 * HEARTBEAT:g}s"])
            self._statements = Statements(self._table)
        except BaseException:
            self._connection.close()
            raise
        self._cursor = Cursor("0:0:")

    def batches(self, cache: Cache, stopping: StopEvent) -> Iterator[Batch]:
        """Yield what the cache does not have yet, then what changes, until `stopping`.

        Raises NotCapturedError when capture is taken off the table, or put on it anew.
        """
        number = 0
        try:
            position, filled = self._position(cache)
            for batch in self._follow(position, stopping, filled=filled):
                number += batch.position is not None
                yield replace(batch, number=number)
        except REMADE as error:
            raise NotCapturedError(f"The table was made anew ({error}).") from error

    def _follow(self, position: Position, stopping: StopEvent, *, filled: bool) -> Iterator[Batch]:
        if not filled:
            yield from self._fill(position)
        wait, said = FIRST_WAIT, time.monotonic()
        while not stopping.is_set():
            found = False
            for batch in self._read(position):
                found = True
                yield batch
            if found:
                wait, said = FIRST_WAIT, time.monotonic()
                continue
            if time.monotonic() - said < HEARTBEAT:
                yield Batch(State.LIVE)
            else:  # a sign of life: is this still the leader, does Redis still hold the data?
                yield Batch(State.LIVE, position=position, cursor=self._cursor.snapshot)
                said = time.monotonic()
            if not self._arm():  # a writer is at work who will not ring
                stopping.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            try:
                if not self._unseen():
                    self.heard(stopping, HEARTBEAT)
            finally:
                self._disarm()

    # Reading

    def _position(self, cache: Cache) -> tuple[Position, bool]:
        """Take the lead in the cache; whether its cursor can be followed from where it is."""
        (incarnation,) = self._one(self._statements.incarnation)
        position = cache.take_over(incarnation)
        pruned, snapshot = self._one(self._statements.now)
        now = Cursor(snapshot)
        if position.cursor is not None:
            kept = Cursor(position.cursor)
            if int(pruned) < kept.xmin and kept.xmax <= now.xmax:
                self._cursor = kept
                return position, True
        # There is none, its changes have been pruned, or the database is older than the cache.
        self._cursor = now
        return cache.take_over(incarnation, anew=True), False

    def _fill(self, position: Position) -> Iterator[Batch]:
        """Read the whole table, page by page, each row with the version that it has."""
        last, count = None, 0
        total = max(int(self._one(self._statements.estimate)[0]), 0)
        while True:
            page = self._connection.execute(
                self._statements.page(first=last is None),
                {**self._table.parameters, "last": last, "rows": PAGE_ROWS},
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
            parameters = {**self._table.parameters, **self._cursor.unseen}
            for snapshot, truncated, key, row, version in reader.stream(
                self._statements.read, parameters, size=BATCH_ROWS
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
        if not seen:
            raise self._gone()
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
        self._one(self._statements.disarm)

    def _one(self, statement: sql.Composed, more: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """The one row that a statement returns; there is none once the table is not captured."""
        found = self._connection.execute(statement, {**self._table.parameters, **more}).fetchone()
        if found is None:
            raise self._gone()
        return found

    def _gone(self) -> NotCapturedError:
        return NotCapturedError(f"Capture was taken off {self._table.name}, or put on it anew.")


SETTINGS = (
    # What the text of a key or row may depend on: the trigger sets the same.
    b"SET TimeZone = 'UTC'",
    b"SET DateStyle = 'ISO'",
    b"SET IntervalStyle = 'postgres'",
    b"SET bytea_output = 'hex'",
    b"SET extra_float_digits = 1",
    b"SET lc_monetary = 'C'",
    b"SET jit = off",
    # A generic plan does not know how short the list of transactions is.
    b"SET plan_cache_mode = force_custom_plan",
)

FROZEN = b"SELECT set_config('idle_session_timeout', %s, false)"
"""A frozen leader loses its session, and so its locks."""

REMADE = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)
"""What a session meets when the table, or all of capture, is changed under it."""


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
        changed = sql.SQL("(c.xid >= %(xmax)s::xid8 OR c.xid = ANY (%(in_progress)s::xid8[]))")
        truncated = sql.SQL(
            "(k.truncated_xid >= %(xmax)s::xid8 OR k.truncated_xid = ANY (%(in_progress)s::xid8[]))"
        )
        self.read = sql.SQL(
            """
            SELECT now.snapshot, now.truncated, c.key,
                   CASE WHEN {key} = c.key THEN {row} END, c.version::text
            FROM (
                SELECT pg_current_snapshot()::text AS snapshot,
                       CASE WHEN {truncated} THEN k.truncated_version::text END AS truncated
                FROM reactive.captured k
                WHERE k.table_name = %(table)s AND k.incarnation = %(incarnation)s
            ) now
            LEFT JOIN (reactive.change c LEFT JOIN {table} t ON {same})
            ON c.table_name = %(table)s AND {changed}
            """
        ).format(
            key=self._key,
            row=self._row,
            truncated=truncated,
            changed=changed,
            table=self._name,
            same=self._same(),
        )
        self.unseen = sql.SQL(
            "SELECT EXISTS (SELECT FROM reactive.change c"
            " WHERE c.table_name = %(table)s AND {changed})"
            " OR EXISTS (SELECT FROM reactive.captured k"
            " WHERE k.table_name = %(table)s AND {truncated})"
        ).format(changed=changed, truncated=truncated)
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


def _captured(connection: psycopg.Connection[Any], table: str) -> Captured:
    """`table` as the database describes it; from here on, every name must be qualified."""
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
