"""A state machine mixes writes with faults: no version goes back, in the end all is equal.

The machine itself asks the session for each batch, in its own thread: so a fault comes between any
two batches that it chooses, every run is repeatable, and a thousand of them take seconds. What the
session does between two batches is open to it as well: it writes `meanwhile`, at a named moment.

That it would find a mistake is tested too: each mutation takes one idea out of the pipeline.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from psycopg import sql

from reactive_demo import Cache, ChangeTableFeed
from reactive_demo.changes import Batch, Lease
from reactive_demo.errors import FencedError
from reactive_demo.feeds.change_table import ChangeTableSession
from reactive_demo.feeds.cursor import Cursor
from reactive_demo.listener.leadership import Leadership
from reactive_demo.options import Options
from reactive_demo.waiting import StopEvent
from tools.agreement import cached, stored

WRITES = {
    "change": "SELECT reactive.increment(%(key)s, 'likes')",
    "delete": "DELETE FROM public.profile WHERE username = %(key)s",
    "rename": "UPDATE public.profile SET username = %(other)s WHERE username = %(key)s",
    "all": "UPDATE public.profile SET likes_count = likes_count + 1",
    "truncate": "TRUNCATE public.profile",
}
BUSY = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.UniqueViolation,
    psycopg.errors.DeadlockDetected,
)
WHAT = st.sampled_from(["change", "change", "change", "delete", "delete", *sorted(WRITES)])
KEYS = st.sampled_from("abc")
WRITERS = st.integers(0, 2)
MOMENTS = st.sampled_from(["before it arms", "armed", "asleep"])

SMALL = Options(heartbeat=0, max_poll=0.001, idle_poll=0.001, batch_rows=2, page_rows=3)
"""Small batches, with a sign of life after each."""


class Watched(ChangeTableSession):
    """A session whose moments are open to the machine, and that may not oversleep."""

    def __init__(self, feed: "WatchedFeed") -> None:
        super().__init__(feed)
        # An open TRUNCATE would block the reader, and with it the one thread that could end it.
        self.connection.execute("SET lock_timeout = '5ms'")
        self.machine = feed.machine
        self.moment = feed.machine.moment
        self.slept = 0
        self._looking = psycopg.connect(
            feed.database_url, autocommit=True, options="-c lock_timeout=5ms"
        )

    def __exit__(self, *exc: object) -> None:
        self._looking.close()
        super().__exit__(*exc)

    def _arm(self) -> bool:
        self.moment("before it arms")
        armed = super()._arm()
        self.moment("armed")
        if not armed and self.machine.fenced and not self._has_unseen():
            self.slept += (
                1  # as good as asleep: the fenced leader does not know yet, and holds the bell
            )
        return armed

    def _sleep(self, stopping: StopEvent, timeout: float) -> bool:
        del timeout
        self.moment("asleep")
        if self._has_unseen():
            assert super()._sleep(stopping, 1), "it sleeps, and nobody rang"
            return True
        self.slept += 1
        return super()._sleep(stopping, 0)

    def _has_unseen(self) -> bool:
        """Whether there is something to read, as another connection sees it."""
        parameters = {**self._statements.table.parameters, **self._cursor.parameters, "some": 1}
        row = self._looking.execute(self._statements["some_changes_since"], parameters).fetchone()
        return row is not None and (row[0], row[-1]) != (None, None)


class WatchedFeed(ChangeTableFeed):
    """Opens sessions for a machine."""

    def __init__(self, machine: "Pipeline") -> None:
        super().__init__(machine.database, options=SMALL)
        self.machine = machine

    def open(self) -> Watched:
        return self.machine.session(self)


class Reader:
    """What a listener's thread does, one batch at a time."""

    def __init__(self, feed: WatchedFeed, cache: Cache) -> None:
        self._feed, self._cache = feed, cache
        self._open()

    def step(self) -> tuple[Batch, Lease] | None:
        """Carry one batch, if there is one, and say under which lease; after a loss, look again."""
        lease = self._lease
        try:
            batch = next(self._batches)
            if not batch.is_empty:
                self._cache.write(batch, lease)
                self._lease = replace(lease, sequence=lease.sequence + 1)
        except (FencedError, psycopg.OperationalError):
            self.restart()
            return None
        except AssertionError:
            self.restart()  # what raised is over
            raise
        return None if batch.is_empty else (batch, lease)

    def settle(self) -> None:
        """Carry what there is."""
        self.session.slept = 0
        for _ in range(1000):
            self.step()
            if self.session.slept:
                return
        raise AssertionError("it finds no rest")

    def restart(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self._batches.close()
        self.session.__exit__()

    def _open(self) -> None:
        self.session = self._feed.open()
        leadership = Leadership(self._feed, self._cache, takeover=False)
        self._lease = leadership.acquire_lease(self.session)
        self._batches = self.session.batches(self._lease.cursor, StopEvent())


class Pipeline(RuleBasedStateMachine):
    """Three writers with transactions of their own, a reader, and what may happen to them."""

    database: str
    redis_url: str
    session: type[Watched] = Watched
    mutate: Callable[[Cache], None] = staticmethod(lambda _: None)

    def __init__(self) -> None:
        super().__init__()
        self.redis = redis.Redis.from_url(self.redis_url, decode_responses=True)
        self.redis.flushall()
        self.admin = psycopg.connect(self.database, autocommit=True)
        self.admin.execute("TRUNCATE public.profile, reactive.change")
        self.admin.execute("INSERT INTO public.profile (username) VALUES ('a'), ('b')")
        self.writers = [psycopg.connect(self.database) for _ in range(3)]
        for writer in self.writers:
            writer.execute("SET lock_timeout = '5ms'")
            writer.commit()
        self.cache = Cache(self.redis_url)
        self.mutate(self.cache)
        self.meanwhile_: list[tuple[str, str, str]] = []
        self.seen: dict[str, tuple[int, int]] = {}
        self.carried: list[tuple[Batch, Lease]] = []
        self.feed = WatchedFeed(self)
        self.reader = Reader(self.feed, self.cache)
        self.fenced: Reader | None = None

    # Writes

    @rule(writer=WRITERS, what=WHAT, key=KEYS, other=KEYS)
    def write(self, writer: int, what: str, key: str, other: str) -> None:
        try:
            self.writers[writer].execute(WRITES[what].encode(), {"key": key, "other": other})
        except BUSY:
            self.writers[writer].rollback()

    @rule(writer=WRITERS)
    def commit(self, writer: int) -> None:
        self.writers[writer].commit()

    @rule(writer=WRITERS)
    def roll_back(self, writer: int) -> None:
        self.writers[writer].rollback()

    @rule(writer=WRITERS, what=WHAT, key=KEYS, other=KEYS)
    def write_and_commit(self, writer: int, what: str, key: str, other: str) -> None:
        self.write(writer, what, key, other)
        self.commit(writer)

    @rule(moment=MOMENTS, what=st.sampled_from(["change", "delete"]), key=KEYS)
    def write_meanwhile(self, moment: str, what: str, key: str) -> None:
        self.meanwhile_.append((moment, what, key))

    def moment(self, name: str) -> None:
        due = [one for one in self.meanwhile_ if one[0] == name]
        self.meanwhile_ = [one for one in self.meanwhile_ if one[0] != name]
        for _, what, key in due:
            try:
                with self.admin.transaction():
                    self.admin.execute("SET LOCAL lock_timeout = '5ms'")
                    self.admin.execute(WRITES[what].encode(), {"key": key})
            except BUSY:
                pass

    # The pipeline, and what may happen to it

    @rule(count=st.integers(1, 4))
    def carry(self, count: int) -> None:
        for _ in range(count):
            if carried := self.reader.step():
                self.carried.append(carried)

    @rule(writer=WRITERS, what=WHAT, key=KEYS, other=KEYS, count=st.integers(1, 3))
    def write_and_carry(self, writer: int, what: str, key: str, other: str, count: int) -> None:
        self.write_and_commit(writer, what, key, other)
        self.carry(count)

    @rule()
    def carry_all(self) -> None:
        if not any(w.info.transaction_status for w in self.writers):
            self.all_is_equal()

    @rule()
    def flush(self) -> None:
        self.redis.flushall()
        self.seen.clear()

    @rule()
    def terminate(self) -> None:
        pid = self.reader.session.connection.info.backend_pid
        self.admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    @rule()
    def restart(self) -> None:
        self.reader.restart()

    @rule()
    def take_over(self) -> None:
        if self.fenced:
            self.fenced.close()
        self.fenced, self.reader = self.reader, Reader(self.feed, self.cache)

    @rule()
    def carry_late(self) -> None:
        """A leader that was fenced writes what it read before."""
        if self.fenced:
            self.fenced.step()
            self.fenced.close()
            self.fenced = None

    @rule(number=st.integers(0, 50))
    def write_again(self, number: int) -> None:
        """A batch from before comes under the fencing token of now, as a slow loader's might.

        Not one of another epoch: a leader gets token and epoch by one answer. And only what has
        left its version or a tombstone: TRUNCATE waits for loaders, and leaves none.
        """
        fence, epoch = self.redis.hmget(self.cache._feed, "fence", "epoch")
        rows = [batch for batch, lease in self.carried if batch.changes and lease.epoch == epoch]
        if rows and fence:
            late = rows[number % len(rows)]
            known = [one for one in late.changes if self.redis.exists(f"profile:{one.key}")]
            token, _, sequence = fence.partition(":")
            lease = Lease(token, epoch, None, int(sequence))
            self.cache.write(replace(late, changes=known, cursor=None), lease)

    # What must hold

    @invariant()
    def no_version_goes_back(self) -> None:
        for key in self.cache.scan():
            version, row = self.redis.hmget(f"profile:{key}", "version", "row")
            if version is not None:
                now = tuple(map(int, version.split(":")))
                assert now >= self.seen.get(key, now), f"{key} went back"
                self.seen[key] = now
                assert row is None or self.redis.pttl(f"profile:{key}") == -1, f"{key} will expire"

    def all_is_equal(self) -> None:
        self.reader.settle()
        assert cached(self.cache) == stored(self.database)

    def teardown(self) -> None:
        try:
            for writer in self.writers:
                writer.commit()
            self.all_is_equal()
        finally:
            for end in (*self.writers, self.admin, self.reader, self.fenced, self.redis):
                if end is not None:
                    end.close()
            self.cache.close()


@pytest.fixture
def pipeline(database: str, valkey_url: str) -> Callable[..., type[Pipeline]]:
    """Make a machine, of a mutated pipeline if need be."""

    def make(**parts: Any) -> type[Pipeline]:
        parts = {name: staticmethod(p) if name == "mutate" else p for name, p in parts.items()}
        return type(
            "Machine", (Pipeline,), {"database": database, "redis_url": valkey_url, **parts}
        )

    return make


def run(machine: type[Pipeline], examples: int, *, phases: tuple[Phase, ...]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            derandomize=True,
            database=None,
            deadline=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("examples", [6, pytest.param(100, marks=pytest.mark.long)])
def test_no_version_goes_back_and_all_is_equal_in_the_end(pipeline: Any, examples: int) -> None:
    run(pipeline(), examples, phases=(Phase.generate, Phase.shrink))


# Mutations


def script(old: str, new: str = "") -> Callable[[Cache], None]:
    """The script that writes a batch, with some of its text replaced."""

    def mutate(cache: Cache) -> None:
        text = cache._apply.script
        assert old in text
        cache._apply = cache._redis.register_script(text.replace(old, new))

    return mutate


class ArmsAfterTheLastRead(Watched):
    armed_now = False

    def _arm(self) -> bool:
        self.armed_now = super()._arm()
        return self.armed_now

    def _read(self) -> Iterator[Batch]:
        if not self.armed_now:
            yield from super()._read()
        self.armed_now = False


class StoresTheCursorFirst(Watched):
    def _read(self) -> Iterator[Batch]:
        batches = list(super()._read())
        if batches:
            yield replace(batches[-1], changes=())
            yield from (replace(batch, cursor=None) for batch in batches)


class SequenceCursor(Cursor):
    """What is greater than the greatest version seen; it is not even forgotten."""

    greatest = 0

    @property
    def parameters(self) -> dict[str, Any]:
        return {**Cursor.parameters.fget(self), "greatest": SequenceCursor.greatest}


class FollowsASequence(Watched):
    def __init__(self, feed: WatchedFeed) -> None:
        super().__init__(feed)
        for name in ("changes_since", "some_changes_since"):
            text = self._statements[name].as_string(self.connection)
            text, count = re.subn(
                r"(?<= AND )xid >= %\(xmax\)s::xid8", "version > %(greatest)s", text
            )
            assert count == 1
            text, count = re.subn(
                r"xid = ANY \(%\(in_progress\)s::xid8\[\]\)(?= *\n *UNION)", "false", text
            )
            assert count == 1
            self._statements._made[name] = sql.SQL(text).format()

    def _read(self) -> Iterator[Batch]:
        self._cursor = SequenceCursor(self._cursor.snapshot)
        for batch in super()._read():
            versions = [int(change.version) for change in batch.changes]
            SequenceCursor.greatest = max([SequenceCursor.greatest, *versions])
            yield batch

    def _has_unseen(self) -> bool:
        self._cursor = SequenceCursor(self._cursor.snapshot)
        return super()._has_unseen()


@pytest.mark.long
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(
            {"mutate": script("return less(held, stamp)", "return true")},
            id="version guard",
        ),
        pytest.param(
            {"mutate": script("if redis.call('HGET', feed, 'fence') ~= fence then return -1 end")},
            id="fence",
        ),
        pytest.param({"mutate": script("redis.call('PERSIST', key)")}, id="PERSIST"),
        pytest.param({"session": StoresTheCursorFirst}, id="data before the cursor"),
        pytest.param({"session": ArmsAfterTheLastRead}, id="a read after arming"),
        pytest.param({"session": FollowsASequence}, id="the snapshot as cursor"),
    ],
)
def test_the_machine_finds_a_pipeline_without(pipeline: Any, parts: dict[str, Any]) -> None:
    # Found is found, also where servers make it come out otherwise when it is tried again.
    with pytest.raises((AssertionError, FlakyFailure)):
        run(pipeline(**parts), 300, phases=(Phase.generate,))
