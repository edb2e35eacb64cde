"""The way of the log: PostgreSQL decodes what it writes down anyway, and streams it.

Writers pay for no trigger and no extra row. A slot keeps the log until the cache has what is in
it: the cursor, a position in the log, is in the cache beside the data, and only what the cache has
is confirmed to the server. The slot's snapshot and its position belong together: the cache is
filled from the one, and followed from the other.
"""

from collections.abc import Collection, Generator, Iterator, Sequence
from time import monotonic, sleep
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.capture.slots import drop_slot, free_slot, slot_name
from reactive_demo.changes import Batch, State, UnreadableRow, Versioned
from reactive_demo.errors import NotCapturedError, RefusedError, UnavailableError, first_line
from reactive_demo.feeds.log_changes import Changes, is_visible, version_at
from reactive_demo.feeds.log_rows import Layout
from reactive_demo.feeds.pgoutput import Relation, decode
from reactive_demo.feeds.queries import query
from reactive_demo.feeds.replication import Keepalive, Replication, SlotMade, lsn_number
from reactive_demo.feeds.rows import Rows, fill_batches
from reactive_demo.feeds.session import Session
from reactive_demo.feeds.statements import Statements
from reactive_demo.feeds.table import SCHEMA_CHANGED, SETTINGS, describe_published, listed, text
from reactive_demo.options import Options
from reactive_demo.waiting import StopEvent

__all__ = ["LogFeed"]

CURSOR = "lsn:"
NO_VERSION = sql.SQL("NULL")
SHOWN = 3
"""Of the transactions that a new slot waits for, how many are named."""

WAIT_SHOWN = 0.25
"""Seconds between two looks at what the making of a slot waits for."""

CANNOT_DECODE = (
    psycopg.errors.ObjectNotInPrerequisiteState,  # wal_level
    psycopg.errors.ConfigurationLimitExceeded,  # max_replication_slots
)
"""PostgreSQL's errors for a server that is not set up to decode its log."""

BURST = 2_000
"""Messages that are read before others get their turn: the heartbeat, the cache."""

LOOKED_UP = 20
"""Rows that are looked up at once: nobody knows beforehand how large they are."""

VISIBLE_POLL = 0.001
"""Seconds between two looks whether a transaction can be seen."""


class LogFeed:
    """The changes of any table published by `install(..., feed="log")` (see `sql/07_log.sql`)."""

    kind = "log"

    def __init__(
        self, database_url: str, table: str = "profile", *, options: Options | None = None
    ) -> None:
        self.database_url = database_url
        self.table = table
        self.options = options or Options()

    def open(self) -> "LogSession":
        """Connect. Raises NotCapturedError if the table is not published."""
        return LogSession(self)

    def __repr__(self) -> str:
        return f"LogFeed({self.table})"


class LogSession(Session):
    """A connection that looks up what is asked, and another that streams once this one leads."""

    def __init__(self, feed: LogFeed) -> None:
        super().__init__(feed.database_url, feed.table, None, feed.options)
        self._feed = feed
        self._stream: Replication | None = None
        try:
            self._table = describe_published(self.connection, feed.table)
            self.connection.execute(SETTINGS)
            # A leader that is frozen does not keep the lead.
            idle = f"SET idle_session_timeout = '{3 * self.options.heartbeat:g}s'"
            within = (
                f"SET idle_in_transaction_session_timeout = '{self.options.silence_timeout:g}s'"
            )
            self.connection.execute(f"{idle}; {within}".encode())
            self._statements = self._statements_on(self.connection)
            self._incarnation = str(self._statements.one("incarnation")[0])
            self._rows = Rows(self._statements, self.options, self._check_unchanged)
        except BaseException:
            self.connection.close()
            raise

    def __exit__(self, *exc: object) -> None:
        if self._stream is not None:
            self._stream.close()
        super().__exit__(*exc)

    def incarnation(self) -> str:
        """Return what a cursor belongs to: server, timeline, database, publication and schema."""
        return self._incarnation

    def can_resume(self, cursor: str) -> bool:
        """Return whether the slot is there and has kept everything after `cursor`."""
        if not cursor.startswith(CURSOR):
            return False
        wanted = {"slot": self._slot, "position": cursor.removeprefix(CURSOR)}
        return self.connection.execute(query("resumable"), wanted).fetchone() is not None

    def batches(
        self, cursor: str | None, stopping: StopEvent, *, fill: bool = True
    ) -> Iterator[Batch]:
        """Yield what changed after `cursor`, and then what changes, until `stopping`.

        Raises NotCapturedError when the table or its publication are altered.
        """
        try:
            self._stream = self._open_stream()
            if cursor is None:
                made = yield from self._make_slot(self._stream, stopping)
                if made is None:
                    return
                if fill:
                    yield from self._fill(self._stream, made)
                yield Batch(State.CATCHING_UP, evict_below="0", progress="removing what is gone")
                self._check_unchanged()
                yield Batch(State.CATCHING_UP, cursor=f"{CURSOR}{made.lsn}")
                start = made.lsn
            else:
                start = int(cursor.removeprefix(CURSOR))
            self._start(self._stream, start, stopping)
            yield from self._follow(self._stream, start, stopping)
        except SCHEMA_CHANGED as error:
            raise NotCapturedError(f"The table was made anew ({first_line(error)}).") from error

    def _open_stream(self) -> Replication:
        try:
            return Replication(self._feed.database_url, self._feed.table, self.options)
        except psycopg.OperationalError as error:
            ((may, user),) = self.connection.execute(query("may_replicate"))
            if may:
                raise
            raise RefusedError(
                f"{user} may not read the log ({first_line(error)}): ALTER ROLE {user} REPLICATION."
            ) from error

    def _start(self, stream: Replication, lsn: int, stopping: StopEvent) -> None:
        """Read the slot from there.

        What read it until now may have confirmed more a moment ago, and PostgreSQL would skip that
        without a word.
        """
        free_slot(self.connection, self._slot)
        if not self.can_resume(f"{CURSOR}{lsn}"):
            raise UnavailableError("The slot was lost, or moved on: the cache is filled again.")
        ((publication,),) = self.connection.execute(query("publication"), [self._table.name])
        stream.start(self._slot, publication, lsn, stopping)

    @property
    def _slot(self) -> str:
        return slot_name(self.connection, self._table.name, self.follower)

    # Filling the cache

    def _make_slot(
        self, stream: Replication, stopping: StopEvent
    ) -> Generator[Batch, None, SlotMade | None]:
        """Make the slot anew; say what that waits for. Returns None if stopped meanwhile."""
        drop_slot(self.connection, self._slot)
        made = None
        try:
            for made in stream.create_slot(self._slot, stopping, WAIT_SHOWN):
                if made is None:
                    yield Batch(State.CATCHING_UP, progress=self._waiting_for(stream.pid))
        except CANNOT_DECODE as error:
            raise RefusedError(
                f"PostgreSQL makes no slot ({first_line(error)}): set wal_level = logical and a "
                "max_replication_slots that leaves room for one more, then restart PostgreSQL."
            ) from error
        if made is not None:
            try:
                self._check_unchanged()  # `uninstall` may have missed a slot so new
            except NotCapturedError:
                drop_slot(self.connection, self._slot)
                raise
        return made

    def _waiting_for(self, pid: int) -> str:
        writers = self.connection.execute(query("writers"), [pid]).fetchall()
        words = ", ".join(_writer(*writer) for writer in writers[:SHOWN])
        more = f" and {len(writers) - SHOWN} more" if len(writers) > SHOWN else ""
        return f"a new slot waits for open transactions: {words or 'none'}{more}"

    def _fill(self, stream: Replication, made: SlotMade) -> Iterator[Batch]:
        """Read the whole table as it was where the slot begins."""
        version = version_at(made.lsn, 0)
        with self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self.connection.execute(
                sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(made.snapshot))
            )
            # An old snapshot sees old types in the catalog, but PostgreSQL runs the casts of those
            # that the table has now. So nobody may alter it, and a new snapshot is asked.
            lock = sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE")
            self.connection.execute(lock.format(self._table.table))
            self._statements_on(stream.connection).check_unchanged(self._incarnation)
            total = max(int(self._statements.one("estimate")[0]), 0)
            pages = ([(key, row, version, None) for key, row, *_ in p] for p in self._rows.pages())
            yield from fill_batches(pages, total, self.options)

    # Following the log

    def _follow(self, stream: Replication, start: int, stopping: StopEvent) -> Iterator[Batch]:
        """Read what is there, hand it over, confirm it, and wait for more."""
        ((end,),) = self.connection.execute(query("log_end"))
        missed, told, state = lsn_number(end), monotonic(), State.CATCHING_UP
        changes = Changes(self._layout, self._ask_key, start)
        while not stopping.is_set():
            heard, asked = 0, False
            for message in stream.receive(BURST):
                heard += 1
                if isinstance(message, Keepalive):
                    changes.reach(message.end)
                    asked |= message.wants_reply
                    continue
                changes.take(decode(message))
                if self._is_full(changes):
                    yield from self._hand_over(State.CATCHING_UP, changes)
            due = monotonic() - told >= self.options.heartbeat
            if due:  # a sign of life: is this still the leader, does Redis still hold the data,
                self._check_unchanged()  # and is the table what it was?
                told = monotonic()
            if changes.end >= missed or (due and not heard):
                state = State.LIVE
            if due or changes.transaction is None:
                yield from self._hand_over(state, changes, is_sign=due or asked)
            if asked:
                stream.confirm(0, at_once=True)
            if not heard:
                stream.wait(stopping, max(0.0, told + self.options.heartbeat - monotonic()))

    def _is_full(self, changes: Changes) -> bool:
        options = self.options
        return (
            len(changes.rows) >= options.batch_rows
            or changes.size >= options.batch_bytes
            or len(changes.missing) >= LOOKED_UP
        )

    def _hand_over(
        self, state: State, changes: Changes, *, is_sign: bool = False
    ) -> Iterator[Batch]:
        """Yield what has changed; once the cache has it, confirm it."""
        end = changes.end
        written = bool(changes.received or changes.has_ended or is_sign)
        looked_up = self._look_up(changes)
        rows, unreadable = [], []
        for key, (row, version) in changes.rows.items():
            found = looked_up.get(key, row)
            if isinstance(found, psycopg.Error):
                unreadable.append(UnreadableRow(key, version, first_line(found)))
            else:
                rows.append(Versioned(key, found, version))
        batch = Batch(
            state,
            rows,
            unreadable,
            cursor=f"{CURSOR}{end}" if written else None,
            evict_below=changes.truncated,
            received=changes.received,
            changed_at=changes.changed_at,
            progress="" if state is State.LIVE else "reading the log",
        )
        changes.clear()
        yield batch
        if written and self._stream is not None:
            self._stream.confirm(end)

    def _look_up(self, changes: Changes) -> dict[str, Any]:
        """Return the rows that the log does not tell, as they are now, by key."""
        if not changes.missing:
            return {}
        self._await_visible(set(changes.missing.values()))
        found = self._rows.look_up(list(changes.missing))
        ((end,),) = self.connection.execute("SELECT pg_current_wal_insert_lsn()::text")
        changes.fresh.update(dict.fromkeys(found, lsn_number(end)))
        return {key: row for key, (row, _) in found.items()}

    def _await_visible(self, xids: Collection[int]) -> None:
        """Wait until others see what these transactions did: the log has them a moment before."""
        deadline = monotonic() + self.options.silence_timeout
        while True:
            ((snapshot,),) = self.connection.execute("SELECT pg_current_snapshot()::text")
            if all(is_visible(xid, snapshot) for xid in xids):
                return
            if monotonic() > deadline:
                raise psycopg.OperationalError("a committed transaction does not become visible")
            sleep(VISIBLE_POLL)

    def _layout(self, relation: Relation, xid: int) -> Layout:
        """Say how to read the table's changes from here on; the transaction may have altered it."""
        self._await_visible([xid])
        self._check_unchanged()
        try:
            return Layout(self._table, relation.columns)
        except KeyError as error:
            raise NotCapturedError(f"The log of {self._table.name} is without {error}.") from None

    def _ask_key(self, parts: Sequence[str]) -> str:
        """Have PostgreSQL say how a key looks as text.

        A parameter, whose type is not known, is read by the column's own input, and not by a cast.
        """
        values = [
            sql.SQL("%s::{} AS {}").format(text(column.base_type), text(column.name))
            for column in self._table.key_columns
        ]
        statement = sql.SQL("SELECT {} FROM (SELECT {}) t").format(
            self._table.key_text, listed(values)
        )
        ((key,),) = self.connection.execute(statement, parts)
        return str(key)

    def _statements_on(self, connection: psycopg.Connection[Any]) -> Statements:
        return Statements(
            self._table, connection, incarnation="log_incarnation", version=NO_VERSION
        )

    def _check_unchanged(self) -> None:
        self._statements.check_unchanged(self._incarnation)


def _writer(pid: int, age: int | None) -> str:
    """Name a transaction, for people."""
    if not pid:
        return "a prepared one"
    return f"process {pid}" if age is None else f"process {pid} (for {age} s)"
