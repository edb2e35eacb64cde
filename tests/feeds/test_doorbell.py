"""The armed doorbell: why the read after arming is a statement of its own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from reactive_demo import Cache, ChangeTableFeed, Listener, Profiles
from reactive_demo.feeds.change_table import ChangeTableSession
from reactive_demo.options import Options
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

    with psycopg.connect(database, autocommit=True) as gate, ThreadPoolExecutor(1) as thread:
        gate.execute("SELECT pg_advisory_lock(%s)", [GATE])
        asleep = thread.submit(fall_asleep)
        until("it has its snapshot", lambda: connection.execute(WAITING).fetchall())
        connection.execute("INSERT INTO public.profile VALUES ('ada')")
        gate.execute("SELECT pg_advisory_unlock(%s)", [GATE])
        assert asleep.result(10) == (seen, False)


WAITING = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted"


class ReadsAfterArming(ChangeTableSession):
    """The session as it is; a write commits just before it arms, and it tells when it sleeps."""

    def __init__(self, feed: "Feed") -> None:
        super().__init__(feed)
        self.feed = feed

    def _arm(self) -> bool:
        self.feed.profiles.increment("ada", "likes")
        return super()._arm()

    def _sleep(self, stopping: StopEvent, timeout: float) -> bool:
        self.feed.asleep.set()
        return super()._sleep(stopping, timeout)


class ReadsAsItArms(ReadsAfterArming):
    """The read after arming has the snapshot from before, as it would have in one statement."""

    def _arm(self) -> bool:
        self.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        self.connection.execute("SELECT pg_current_snapshot()")
        return super()._arm()

    def _sleep(self, stopping: StopEvent, timeout: float) -> bool:
        self.connection.execute("COMMIT")
        return super()._sleep(stopping, timeout)


class Feed(ChangeTableFeed):
    """Opens sessions of one kind, which no heartbeat wakes."""

    def __init__(self, profiles: Profiles, session: type[ReadsAfterArming]) -> None:
        super().__init__(profiles.database_url, options=Options(heartbeat=3600))
        self.profiles = profiles
        self.session = session
        self.asleep = threading.Event()

    def open(self) -> ReadsAfterArming:
        return self.session(self)


@pytest.mark.parametrize(("session", "found"), [(ReadsAfterArming, True), (ReadsAsItArms, False)])
def test_a_listener_that_sleeps_has_read_what_committed_while_it_armed(
    profiles: Profiles, cache: Cache, session: type[ReadsAfterArming], *, found: bool
) -> None:
    feed = Feed(profiles, session)
    with Listener(feed, cache):
        assert feed.asleep.wait(10)
        assert bool(cache.get("ada")) is found
