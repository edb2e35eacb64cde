"""The armed doorbell: why the read after arming is a statement of its own."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from reactive_demo import Cache, ChangeTableFeed, Listener
from reactive_demo.feeds import change_table
from reactive_demo.feeds.change_table import ChangeTableSession
from reactive_demo.waiting import StopEvent
from tools.waiting import until

GATE = 42
"""An advisory lock that the test holds: a statement waits for it between snapshot and lock."""

ARM = "SELECT pg_advisory_lock(%(gate)s), pg_try_advisory_lock(reactive.bell('public.profile'))"
UNSEEN = "EXISTS (SELECT FROM reactive.change WHERE table_name = 'public.profile')"


@pytest.mark.parametrize(
    ("statements", "seen"),
    [
        pytest.param([f"{ARM}, {UNSEEN}"], False, id="arms and reads in one: misses it"),
        pytest.param([ARM, f"SELECT {UNSEEN}"], True, id="arms, then reads: sees it"),
    ],
)
def test_a_write_that_commits_between_snapshot_and_lock(
    database: str, connection: psycopg.Connection, statements: list[str], *, seen: bool
) -> None:
    """The writer got the bell, and so did not ring; the listener must find the change."""

    def fall_asleep() -> tuple[bool, bool]:
        with psycopg.connect(database, autocommit=True) as listener:
            listener.execute("LISTEN reactive_change")
            first, *more = statements
            found = listener.execute(first.encode(), {"gate": GATE}).fetchone()
            for statement in more:
                found = (*found, *listener.execute(statement.encode()).fetchone())
            _, armed, sees = found
            assert armed
            rung = list(listener.notifies(timeout=0.1))
            return bool(sees), bool(rung)

    with psycopg.connect(database, autocommit=True) as gate, ThreadPoolExecutor(1) as aside:
        gate.execute("SELECT pg_advisory_lock(%s)", [GATE])
        asleep = aside.submit(fall_asleep)
        until("it has its snapshot", lambda: connection.execute(WAITING).fetchall())
        connection.execute("INSERT INTO public.profile VALUES ('ada')")
        gate.execute("SELECT pg_advisory_unlock(%s)", [GATE])
        assert asleep.result(10) == (seen, False)


WAITING = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted"


class SlowToArm(ChangeTableSession):
    """As on a busy machine: some time goes by between a statement's snapshot and the lock."""

    def _arm(self) -> bool:
        time.sleep(0.002)
        return super()._arm()


class ArmsAndReadsAtOnce(SlowToArm):
    """The read after arming has the snapshot from before, as it has in one statement."""

    def _arm(self) -> bool:
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        self._connection.execute("SELECT pg_current_snapshot()")
        armed = super()._arm()
        if not armed:
            self._connection.execute("COMMIT")
        return armed

    def _disarm(self) -> bool:
        self._read_was_last()
        return super()._disarm()

    def _sleep(self, stopping: StopEvent, timeout: float) -> bool:
        self._read_was_last()
        return super()._sleep(stopping, timeout)

    def _read_was_last(self) -> None:
        if self._connection.info.transaction_status:
            self._connection.execute("COMMIT")


def write(database: str, cache: Cache, count: int) -> None:
    """Single writes, each as soon as the one before has arrived, or the next."""
    with psycopg.connect(database, autocommit=True) as writer:
        for n in range(count):
            (version,) = writer.execute("SELECT reactive.increment('ada', 'likes')").fetchone()
            if n % 3:
                cache.wait_for("ada", version, timeout=2)
        cache.wait_for("ada", version, timeout=2)


@pytest.fixture
def listen_as(
    database: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> Callable[[type[ChangeTableSession]], Listener]:
    """A listener with another kind of session, and without heartbeat."""
    monkeypatch.setattr(change_table, "HEARTBEAT", 3600)

    def listener(session: type[ChangeTableSession]) -> Listener:
        feed = ChangeTableFeed(database)
        monkeypatch.setattr(feed, "open", lambda: session(feed))
        return Listener(feed, cache)

    return listener


def test_who_is_slow_to_arm_misses_nothing(
    database: str, cache: Cache, listen_as: Callable[..., Listener]
) -> None:
    with listen_as(SlowToArm) as listener:
        listener.wait_until("live")
        write(database, cache, 300)


def test_who_arms_and_reads_at_once_misses_a_write(
    database: str, cache: Cache, listen_as: Callable[..., Listener]
) -> None:
    with listen_as(ArmsAndReadsAtOnce) as listener:
        listener.wait_until("live")
        with pytest.raises(TimeoutError, match="does not have version"):
            write(database, cache, 3_000)
