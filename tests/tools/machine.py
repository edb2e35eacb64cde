"""A state machine mixes writes with faults: nothing goes back, and in the end all is equal.

The machine itself asks the session for each batch, in its own thread: so a fault comes between any
two batches that it chooses, and a thousand of them take seconds. What the session does between two
batches is open to it as well: it writes `meanwhile`, at a moment that the session names.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import psycopg
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from reactive_demo import Cache
from reactive_demo.changes import Batch, Lease, State
from reactive_demo.errors import may_pass
from reactive_demo.feeds import Session
from reactive_demo.listener.leadership import Leadership
from reactive_demo.waiting import StopEvent
from tools.agreement import cached, stored

__all__ = ["Pipeline", "Watched", "run"]

PREPARE = """
    ALTER TABLE public.profile ADD COLUMN IF NOT EXISTS bio text;
    ALTER TABLE public.profile ALTER COLUMN bio SET STORAGE EXTERNAL;
    CREATE SEQUENCE IF NOT EXISTS stamp;
    TRUNCATE public.profile;
    INSERT INTO public.profile (username) VALUES ('a'), ('b')
"""
"""A value of `bio` that is long is stored apart. Likes are stamps: each write has a later one."""

WRITES = {
    "change": """
        INSERT INTO public.profile (username, likes_count) VALUES (%(key)s, nextval('stamp'))
        ON CONFLICT (username) DO UPDATE SET likes_count = nextval('stamp')
    """,
    "lengthen": """
        UPDATE public.profile SET bio = repeat(md5(likes_count::text), 100),
            likes_count = nextval('stamp') WHERE username = %(key)s
    """,
    "delete": "DELETE FROM public.profile WHERE username = %(key)s",
    "rename": """
        UPDATE public.profile SET username = %(other)s, likes_count = nextval('stamp')
        WHERE username = %(key)s
    """,
    "all": "UPDATE public.profile SET likes_count = nextval('stamp')",
    "truncate": "TRUNCATE public.profile",
}
BUSY = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.UniqueViolation,
    psycopg.errors.DeadlockDetected,
)
WHAT = st.sampled_from([*["change"] * 3, *["lengthen"] * 2, "delete", *sorted(WRITES)])
KEYS = st.sampled_from("abc")
MEANWHILE = st.lists(
    st.tuples(st.sampled_from(["change", "change", "delete"]), KEYS), min_size=1, max_size=4
)
WRITERS = st.integers(0, 2)

PATIENCE = 20.0
"""Seconds in which a reader must have carried all there is."""


class Watched(Protocol):
    """A session whose moments are open to the machine."""

    may_repeat: bool
    """Whether a row may be shown as it was before, for now."""

    def rests(self, goal: int) -> bool:
        """Whether it has read all there is; `goal` is how far the log was when it was asked."""


class Reader:
    """What a listener's thread does, one batch at a time."""

    def __init__(self, machine: "Pipeline") -> None:
        self._machine, self._cache = machine, machine.cache
        self._open()

    def step(self, *, write: bool = True) -> tuple[Batch, Lease] | None:
        """Carry one batch, if there is one, and say under which lease; after a loss, look again.

        One that it does not `write` is in the hands of a listener that crashes.
        """
        lease = self._lease
        try:
            batch = next(self._batches)
            if write and not batch.is_empty:
                self._cache.write(batch, lease)
                self._lease = replace(lease, sequence=lease.sequence + 1)
                if batch.state is State.LIVE and batch.cursor:
                    self._machine.made_up_for = self._set_backs  # it has found its place
        except Exception as error:
            self.restart()  # what raised is over
            if may_pass(error):  # a listener tries again
                return None
            raise
        return None if batch.is_empty else (batch, lease)

    def settle(self) -> None:
        """Carry what there is."""
        deadline, written = time.monotonic() + PATIENCE, -1
        self.session.reached = 0
        while written < self._machine.written_meanwhile:
            written, goal = self._machine.written_meanwhile, self._machine.log_end()
            while not self.session.rests(goal):
                assert time.monotonic() < deadline, "it finds no rest"
                self.step()

    def restart(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self._batches.close()
        self.session.__exit__()

    def _open(self) -> None:
        feed = self._machine.feed
        self.session: Any = feed.open()
        known = self._cache.has_cursor()
        leadership = Leadership(feed, self._cache, takeover=False)
        self._lease = leadership.acquire_lease(self.session)
        self._batches = self.session.batches(self._lease.cursor, StopEvent())
        self._set_backs = self._machine.set_backs
        if known and not self._machine.is_set_back:
            assert self._lease.cursor is not None, "the cache is filled again for nothing"


class Pipeline(RuleBasedStateMachine):
    """Three writers with transactions of their own, a reader, and what may happen to them."""

    database: str
    redis_url: str
    session: type[Session]
    feed_class: Callable[["Pipeline"], Any]
    """Makes the feed, which opens sessions of the class `session`."""
    mutate: Callable[[Cache], None] = staticmethod(lambda _: None)
    moments: Sequence[str]

    def __init__(self) -> None:
        super().__init__()
        self.redis = redis.Redis.from_url(self.redis_url, decode_responses=True)
        self.redis.flushall()
        self.raw = redis.Redis.from_url(self.redis_url)
        self.admin = psycopg.connect(self.database, autocommit=True)
        self.admin.execute(PREPARE)
        self.writers = [psycopg.connect(self.database) for _ in range(3)]
        for writer in self.writers:
            writer.execute("SET lock_timeout = '5ms'")
            writer.commit()
        self.cache = Cache(self.redis_url)
        self.mutate(self.cache)
        self.meanwhile_: list[tuple[str, str, str]] = []
        self.written_meanwhile = 0
        self.seen: dict[str, tuple[int, int]] = {}
        self.stamps: dict[str, int] = {}
        self.saved: list[tuple[bytes, bytes, int]] | None = None
        self.set_backs = self.made_up_for = 0
        self.carried: list[tuple[Batch, Lease]] = []
        self.feed = self.feed_class(self)
        self.reader = Reader(self)
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

    @rule(moment=st.integers(0, 5), writes=MEANWHILE)
    def write_meanwhile(self, moment: int, writes: list[tuple[str, str]]) -> None:
        name = self.moments[moment % len(self.moments)]
        self.meanwhile_ += [(name, what, key) for what, key in writes]

    def moment(self, name: str) -> None:
        due = [one for one in self.meanwhile_ if one[0] == name]
        self.meanwhile_ = [one for one in self.meanwhile_ if one[0] != name]
        for _, what, key in due:
            self.written_meanwhile += 1
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
            self.nothing_goes_back()

    @rule(writer=WRITERS, what=WHAT, key=KEYS, other=KEYS, count=st.integers(1, 3))
    def write_and_carry(self, writer: int, what: str, key: str, other: str, count: int) -> None:
        self.write_and_commit(writer, what, key, other)
        self.carry(count)

    @rule(writer=WRITERS, key=KEYS, count=st.integers(1, 3))
    def change_a_long_row(self, writer: int, key: str, count: int) -> None:
        """What is long is stored apart, and stays as it is when the rest changes."""
        for what in ("change", "lengthen", "change"):
            self.write_and_carry(writer, what, key, key, count)
        for one in self.writers:
            one.commit()
        self.all_is_equal()

    @rule()
    def carry_all(self) -> None:
        if not any(w.info.transaction_status for w in self.writers):
            self.all_is_equal()

    @rule()
    def flush(self) -> None:
        self.redis.flushall()
        self._forget_what_was_seen()

    @rule()
    def save(self) -> None:
        names = list(self.raw.scan_iter())
        self.saved = [(name, self.raw.dump(name), max(self.raw.pttl(name), 0)) for name in names]

    @rule()
    def set_back(self) -> None:
        """Redis comes back with what it saved last."""
        if self.saved is not None:
            self.flush()
            for name, value, life in self.saved:
                self.raw.restore(name, life, value)
            self.set_backs += 1

    def _forget_what_was_seen(self) -> None:
        self.seen.clear()
        self.stamps.clear()
        self.carried.clear()

    @rule()
    def terminate(self) -> None:
        self._terminate(self.reader)

    def _terminate(self, reader: Reader) -> None:
        pid = reader.session.connection.info.backend_pid
        self.admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    @rule()
    def restart(self) -> None:
        """It crashes once the last batch is in the cache, and before that is confirmed."""
        self.reader.restart()

    @rule()
    def crash_with_a_batch(self) -> None:
        self.reader.step(write=False)
        self.reader.restart()

    @rule()
    def take_over(self) -> None:
        if self.fenced:
            self.fenced.close()
        self.fenced, self.reader = self.reader, Reader(self)

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
            self.cache.write(replace(late, changes=known, cursor=None, evict_below=None), lease)

    # What must hold

    @invariant()
    def nothing_goes_back(self) -> None:
        for key in self.cache.scan():
            version, row = self.redis.hmget(f"profile:{key}", "version", "row")
            if version is not None:
                now = tuple(map(int, version.split(":")))
                assert now >= self.seen.get(key, now), f"{key} went back"
                self.seen[key] = now
                assert row is None or self.redis.pttl(f"profile:{key}") == -1, f"{key} will expire"
            if self.reader.session.may_repeat:
                self.stamps.clear()
            elif row is not None:
                stamp = self.cache.get(key)["likes_count"]
                assert stamp >= self.stamps.get(key, 0), f"{key} shows an older row again"
                self.stamps[key] = stamp

    @property
    def is_set_back(self) -> bool:
        """Whether something was lost that perhaps only filling the cache makes up for."""
        return self.set_backs > self.made_up_for

    def log_end(self) -> int:
        """How far PostgreSQL's log goes."""
        ((end,),) = self.admin.execute("SELECT pg_current_wal_flush_lsn() - '0/0'")
        return int(end)

    def all_is_equal(self) -> None:
        self.reader.settle()
        held, truth = cached(self.cache), stored(self.database)
        assert held == truth, f"(cached, stored): {held}, {truth}"

    def teardown(self) -> None:
        try:
            for writer in self.writers:
                writer.commit()
            self.all_is_equal()
        finally:
            ends = (*self.writers, self.admin, self.reader, self.fenced, self.redis, self.raw)
            for end in ends:
                if end is not None:
                    end.close()
            self.cache.close()


def run(machine: type[Pipeline], examples: int, *, phases: tuple[Phase, ...]) -> None:
    """Run a machine so many times, the same each time."""
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
