"""The log's session in the state machine: it finds no mistake, and each that is put in.

A mutation takes one idea out of the session, by a subclass of one of its parts.
"""

import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import invariant, rule

from reactive_demo import LogFeed
from reactive_demo.capture.slots import drop_slot
from reactive_demo.changes import Batch, State
from reactive_demo.feeds import log
from reactive_demo.feeds.log import LogSession
from reactive_demo.feeds.log_changes import Changes, version_at
from reactive_demo.feeds.log_rows import Layout
from reactive_demo.feeds.pgoutput import UNCHANGED, Relation, Tuple
from reactive_demo.feeds.replication import Replication, SlotMade
from reactive_demo.options import Options
from reactive_demo.redis_cache.keys import feed_key
from reactive_demo.waiting import StopEvent
from tools.durable import LOG, Durable, slot
from tools.machine import KEYS, MEANWHILE, Pipeline, run
from tools.waiting import until

SMALL = Options(heartbeat=0, batch_rows=2, page_rows=3)
"""Small batches, with a sign of life after each."""

PAUSE = 0.002
"""Seconds that it sleeps at most, and waits for a slot before it says so."""


class Stream(Replication):
    """A stream that does not sleep for long, and knows where in the log it is."""

    session: "Watched"

    def create_slot(
        self, name: str, stopping: StopEvent, pause: float
    ) -> Iterator[SlotMade | None]:
        del pause
        for made in super().create_slot(name, stopping, PAUSE):
            if made is not None:
                self.session.moment("the slot is made")
            yield made

    def wait(self, stopping: StopEvent, timeout: float) -> bool:
        del timeout
        self.session.moment("asleep")
        return super().wait(stopping, PAUSE)


class Watched(LogSession):
    """A session whose moments are open to the machine."""

    def __init__(self, feed: "WatchedFeed") -> None:
        super().__init__(feed)
        # An open TRUNCATE would block the reader, and with it the one thread that could end it.
        self.connection.execute("SET lock_timeout = '5ms'")
        self.moment = feed.machine.moment
        self._log_end = feed.machine.log_end
        self.repeats_until = math.inf
        """The one before it may have looked up rows that are newer than what the log tells next."""
        self._came_to = 0
        self.reached = 0

    def rests(self, goal: int) -> bool:
        return self.reached >= goal

    @property
    def may_repeat(self) -> bool:
        return self._came_to < self.repeats_until

    def batches(
        self, cursor: str | None, stopping: StopEvent, *, fill: bool = True
    ) -> Iterator[Batch]:
        self.repeats_until = 0 if cursor is None else self._log_end()
        for batch in super().batches(cursor, stopping, fill=fill):
            yield batch
            if batch.state is State.LIVE and batch.cursor:  # and it was written
                self.reached = self._came_to = int(batch.cursor.removeprefix("lsn:"))

    def _open_stream(self) -> Stream:
        stream = Stream(self._feed.database_url, self._feed.table, self.options)
        stream.session = self
        return stream


class WatchedFeed(LogFeed):
    """Opens sessions for a machine."""

    def __init__(self, machine: "LogPipeline") -> None:
        super().__init__(machine.database, options=SMALL)
        self.machine = machine

    def open(self) -> Watched:
        return self.machine.session(self)


class LogPipeline(Pipeline):
    """The machine, with what can happen to a slot."""

    session = Watched
    feed_class = WatchedFeed
    moments = ("the slot is made", "asleep")

    @rule()
    def take_over(self) -> None:
        """The leader's lock, without which nobody touches the slot, goes with its session."""
        self._terminate(self.reader)
        super().take_over()

    @rule()
    def drop_the_slot(self) -> None:
        name = slot(self.admin)
        if name is not None:
            drop_slot(self.admin, name)
            self.set_backs += 1

    @rule()
    def go_away_while_the_slot_is_dropped(self) -> None:
        self.drop_the_slot()
        self.reader.restart()

    @rule(first=KEYS, late=KEYS, what=st.sampled_from(["change", "delete", "rename"]), other=KEYS)
    def fill_beside_transactions(self, first: str, late: str, what: str, other: str) -> None:
        """Make a slot while one transaction is open, another begins and a third is not awaited.

        A new slot waits for the transactions that it meets, and then for those that it meets then.
        """
        for writer in self.writers:
            writer.rollback()
        self._write(0, "change", first)
        if self.writers[0].info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            return
        self.flush()
        self.reader.restart()
        self._carry_until(lambda: self._awaited() == {self._pid(0)})
        self.writers[1].execute("SELECT pg_current_xact_id()")
        self.writers[0].commit()
        self._carry_until(lambda: self._awaited() == {self._pid(1)})
        self._write(2, what, late, other)
        self.writers[1].commit()
        self._carry_until(self.cache.has_cursor)
        self.writers[2].commit()

    @rule(writes=MEANWHILE)
    def fill_while_others_write(self, writes: list[tuple[str, str]]) -> None:
        """They do as soon as there is a slot, before the table is read."""
        for writer in self.writers:
            writer.rollback()
        self.meanwhile_ += [("the slot is made", what, key) for what, key in writes]
        self.flush()
        self.reader.restart()
        self._carry_until(self.cache.has_cursor)
        self.carry(4)

    def _write(self, writer: int, what: str, key: str, other: str = "a") -> None:
        self.write(writer, what, key, other)

    def _pid(self, writer: int) -> int:
        return self.writers[writer].info.backend_pid

    def _awaited(self) -> set[int]:
        found = self.admin.execute(
            "SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'walsender'"
        )
        return {pid for (pid,) in found}

    def _carry_until(self, condition: Callable[[], object]) -> None:
        until("the reader gets there", lambda: self.carry(1) or condition(), pause=0)

    @invariant()
    def only_what_the_cache_has_is_confirmed(self) -> None:
        cursor = self.redis.hget(feed_key("profile"), "cursor")
        confirmed = slot(self.admin, "confirmed_flush_lsn - '0/0'")
        if cursor is not None and confirmed is not None and not self.is_set_back:
            assert int(confirmed) <= int(cursor.removeprefix("lsn:")), "confirmed too much"


@pytest.fixture
def durable() -> Durable:
    return LOG


@pytest.fixture
def pipeline(database: str, valkey_url: str) -> Callable[..., type[LogPipeline]]:
    """Make a machine, of a mutated session if need be."""

    def make(session: type[Watched] = Watched) -> type[LogPipeline]:
        parts = {"database": database, "redis_url": valkey_url, "session": session}
        return type("Machine", (LogPipeline,), parts)

    return make


@pytest.mark.parametrize("examples", [2, pytest.param(60, marks=pytest.mark.long)])
def test_nothing_goes_back_and_all_is_equal_in_the_end(pipeline: Any, examples: int) -> None:
    run(pipeline(), examples, phases=(Phase.generate,))


# Mutations


class WithoutPosition(Changes):
    """All changes of a transaction have the same version."""

    def _next_version(self) -> str:
        super()._next_version()
        return version_at(self._begun.lsn, 0)


class Noting:
    """A libpq connection that notes where in the log the last message was."""

    def __init__(self, pgconn: Any) -> None:
        self._pgconn = pgconn
        self.position = 0

    def get_copy_data(self, mode: int) -> Any:
        length, data = self._pgconn.get_copy_data(mode)
        if length > 0 and bytes(data[:1]) == b"w":
            (self.position,) = struct.unpack_from(">xQ", data)
        return length, data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pgconn, name)


class OwnPosition(Changes):
    """The version is where the change is in the log, not where its transaction's commit is."""

    def _next_version(self) -> str:
        super()._next_version()
        stream = self.layout.__self__._stream
        if not isinstance(stream._pgconn, Noting):
            stream._pgconn = Noting(stream._pgconn)
        return version_at(stream._pgconn.position, self._position)


class Sent(Watched):
    """Its stream notes positions."""

    def _open_stream(self) -> Stream:
        stream = super()._open_stream()
        stream._pgconn = Noting(stream._pgconn)
        return stream


class ConfirmsFirst(Watched):
    """It confirms what the cache does not have yet."""

    def _hand_over(self, state: State, changes: Changes, **named: Any) -> Iterator[Batch]:
        self._stream.confirm(changes.end, at_once=True)
        yield from super()._hand_over(state, changes, **named)


class OwnSnapshot(Watched):
    """It fills the cache from a snapshot that is not the slot's."""

    def _make_slot(self, *arguments: Any) -> Any:
        made = yield from super()._make_slot(*arguments)
        self._holder = psycopg.connect(self._feed.database_url)
        self._holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        ((snapshot,),) = self._holder.execute("SELECT pg_export_snapshot()")
        return made and made._replace(snapshot=snapshot)

    def __exit__(self, *exc: object) -> None:
        if hasattr(self, "_holder"):
            self._holder.close()
        super().__exit__(*exc)


class ConfirmsKeepalives(Changes):
    """It confirms how far the server is, although changes wait to be written."""

    def reach(self, end: int) -> None:
        super().reach(end)
        self.layout.__self__._stream.confirm(end, at_once=True)


class TakesTheMarkerForNull(Watched):
    """What did not change and is stored apart is null."""

    def _layout(self, relation: Relation, xid: int) -> Layout:
        layout = super()._layout(relation, xid)

        class Wrong(Layout):
            def row(self, values: Tuple) -> str | None:
                return super().row([None if v is UNCHANGED else v for v in values])

        layout.__class__ = Wrong
        return layout


@pytest.mark.long
@pytest.mark.parametrize(
    ("session", "changes"),
    [
        pytest.param(Watched, WithoutPosition, id="the position in a version"),
        pytest.param(Sent, OwnPosition, id="the commit's position in a version"),
        pytest.param(ConfirmsFirst, Changes, id="the cache first, then the confirmation"),
        pytest.param(OwnSnapshot, Changes, id="the slot's snapshot"),
        pytest.param(Watched, ConfirmsKeepalives, id="a keepalive's turn"),
        pytest.param(TakesTheMarkerForNull, Changes, id="a look at what is stored apart"),
    ],
)
def test_the_machine_finds_a_session_without(
    pipeline: Any,
    monkeypatch: pytest.MonkeyPatch,
    session: type[Watched],
    changes: type[Changes],
) -> None:
    monkeypatch.setattr(log, "Changes", changes)
    # Found is found, also where servers make it come out otherwise when it is tried again.
    with pytest.raises((AssertionError, Flaky)):
        run(pipeline(session), 300, phases=(Phase.generate,))
