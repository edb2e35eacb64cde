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

from reactive_demo.capture.slots import drop_slot, free_slot, shown_size, slot_name
from reactive_demo.changes import Batch, State, UnreadableRow, Versioned
from reactive_demo.errors import NotCapturedError, RefusedError, UnavailableError, first_line
from reactive_demo.feeds.log_changes import Changes, is_visible
from reactive_demo.feeds.log_rows import Layout
from reactive_demo.feeds.pgoutput import Relation, decode
from reactive_demo.feeds.queries import query
from reactive_demo.feeds.replication import Keepalive, Replication, SlotMade, lsn_number
from reactive_demo.feeds.rows import fill_batches
from reactive_demo.feeds.session import DurableFeed, DurableSession
from reactive_demo.feeds.statements import Statements
from reactive_demo.feeds.table import describe_published, listed, text
from reactive_demo.hosts import at_host_of
from reactive_demo.log_versions import CURSOR, version_at
from reactive_demo.waiting import StopEvent

__all__ = ["LogFeed"]

READING: dict[str, Any] = {"incarnation": "log_incarnation", "version": sql.SQL("NULL")}
"""How its statements differ from those of the change table."""

SHOWN = 3
"""Of the transactions that a new slot waits for, how many are named."""

WAIT_SHOWN = 0.25
"""Seconds between two looks at what the making of a slot waits for."""

CANNOT_DECODE = (
    psycopg.errors.ObjectNotInPrerequisiteState,  # wal_level
    psycopg.errors.ConfigurationLimitExceeded,  # max_replication_slots
)
"""PostgreSQL's errors for a server that is not set up to decode its log."""

BURST = 10_000
"""Messages that are read before others get their turn: the heartbeat, the cache."""

LOOKED_UP = 20
"""Rows that are looked up at once: nobody knows beforehand how large they are."""

VISIBLE_POLL = 0.001
"""Seconds between two looks whether a transaction can be seen."""


class LogFeed(DurableFeed):
    """The changes of any table published by `install(..., feed="log")` (see `sql/07_log.sql`)."""

    kind = "log"

    def open(self) -> "LogSession":
        """Connect. Raises NotCapturedError if the table is not published."""
        return LogSession(self)


class LogSession(DurableSession):
    """A connection that looks up what is asked, and another that streams once this one leads."""

    def __init__(self, feed: LogFeed) -> None:
        super().__init__(feed, None, describe_published, **READING)
        self._feed = feed
        self._stream: Replication | None = None
        self._warning = ""
        within = self.options.silence_timeout
        self.connection.execute(f"SET idle_in_transaction_session_timeout = '{within:g}s'".encode())

    def __exit__(self, *exc: object) -> None:
        if self._stream is not None:
            self._stream.close()
        super().__exit__(*exc)

    def can_resume(self, cursor: str) -> bool:
        """Return whether the slot is there and has kept everything after `cursor`."""
        if not cursor.startswith(CURSOR):
            return False
        wanted = {"slot": self._slot, "position": cursor.removeprefix(CURSOR)}
        return self.connection.execute(query("resumable"), wanted).fetchone() is not None

    def _begin(self, stopping: StopEvent, *, fill: bool) -> Generator[Batch, None, str | None]:
        """Make the slot anew, and read the table as it was where the slot begins."""
        self._stream = stream = self._open_stream()
        made = yield from self._make_slot(stream, stopping)
        if made is not None and fill:
            yield from self._fill(stream, made)
        return None if made is None else f"{CURSOR}{made.lsn}"

    def _open_stream(self) -> Replication:
        try:
            here = at_host_of(self.connection, self._feed.database_url)
            return Replication(here, self._feed.table, self.options)
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
            there = Statements(self._table, stream.connection, **READING)
            there.check_unchanged(self._incarnation)
            total = max(int(self._statements.one("estimate")[0]), 0)
            pages = ([(key, row, version, None) for key, row, *_ in p] for p in self._rows.pages())
            yield from fill_batches(pages, total, self.options)

    # Following the log

    def _follow(self, cursor: str, stopping: StopEvent) -> Iterator[Batch]:
        """Read what is there, hand it over, confirm it, and wait for more."""
        self._stream = stream = self._stream or self._open_stream()
        start = int(cursor.removeprefix(CURSOR))
        self._start(stream, start, stopping)
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
                    yield from self._hand_over(State.CATCHING_UP, changes, is_part=True)
            due = monotonic() - told >= self.options.heartbeat
            if due:  # a sign of life: is this still the leader, does Redis still hold the data,
                self._check_unchanged()  # and is the table what it was?
                self._note_retained()
                told = monotonic()
            if changes.end >= missed or (due and not heard):
                state = State.LIVE
            if due or changes.transaction is None:
                yield from self._hand_over(state, changes, is_sign=due or asked)
            if asked:
                stream.confirm(0, at_once=True)
            if not heard:
                stream.wait(stopping, max(0.0, told + self.options.heartbeat - monotonic()))

    def _note_retained(self) -> None:
        """Note how much log the slot retains; warn before the disk is full, or the slot is lost."""
        found = self.connection.execute(query("retained"), [self._slot]).fetchone()
        retained, more = found or (None, None)
        self.retained_log, self._warning = retained, ""
        limit = self.options.retained_log_bytes
        allowed = ""
        if retained is not None and more is not None:
            limit = round(self.options.retained_log_share * (retained + more))
            allowed = f" of the {shown_size(retained + more)} that it may (max_slot_wal_keep_size)"
        if retained is not None and retained > limit:
            self._warning = (
                f"the slot retains {shown_size(retained)} of log{allowed}: end the transaction "
                "that has been open for long, or see why the cache is slow"
            )

    def _is_full(self, changes: Changes) -> bool:
        options = self.options
        return (
            len(changes.rows) >= options.batch_rows
            or changes.size >= options.batch_bytes
            or len(changes.missing) >= LOOKED_UP
        )

    def _hand_over(
        self, state: State, changes: Changes, *, is_sign: bool = False, is_part: bool = False
    ) -> Iterator[Batch]:
        """Yield what has changed; once the cache has it, confirm it. A part moves no cursor."""
        end, has_ended = changes.end, changes.has_ended
        written = not is_part and bool(changes.received or has_ended or is_sign)
        unreadable = []
        for key, found in self._look_up(changes).items():
            _, version = changes.rows.pop(key)
            if isinstance(found, psycopg.Error):
                unreadable.append(UnreadableRow(key, version, first_line(found)))
            else:
                changes.rows[key] = (found, version)
        batch = Batch(
            state,
            [Versioned(key, row, version) for key, (row, version) in changes.rows.items()],
            unreadable,
            cursor=f"{CURSOR}{end}" if written else None,
            evict_below=changes.truncated,
            received=changes.received,
            changed_at=changes.changed_at,
            progress=self._warning if state is State.LIVE else "reading the log",
        )
        changes.clear()
        changes.has_ended = is_part and has_ended
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


def _writer(pid: int, age: int | None) -> str:
    """Name a transaction, for people."""
    if not pid:
        return "a prepared one"
    return f"process {pid}" if age is None else f"process {pid} (for {age} s)"
