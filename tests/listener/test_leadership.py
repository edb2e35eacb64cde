"""Several listeners: one leads, others stand by, and in a notebook the newest takes over."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
import redis

from reactive_demo import Cache, Listener, NotifyFeed, Profiles
from reactive_demo.listener import listener as module
from reactive_demo.tutorial.fault_proxy import FaultProxy
from tools.agreement import cache_follows
from tools.databases import unheard
from tools.waiting import until

Listen = Callable[..., Listener]

ELSEWHERE = """
import sys
from reactive_demo import Cache, Listener, NotifyFeed
_, database_url, redis_url = sys.argv
listener = Listener(NotifyFeed(database_url), Cache(redis_url), takeover=True)
listener.observe(lambda words: print(words, flush=True))
with listener:
    sys.stdin.read()
"""


class Elsewhere:
    """A listener with `takeover` in another process, and the states it told."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, database_url, redis_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        self.words: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def wait_until(self, words: str) -> None:
        until(f"the other process says {words}", lambda: self.words[-1:] == [words], timeout=20)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._reading.join(5)

    def _read(self) -> None:
        for line in self._process.stdout:
            self.words.append(line.strip())


def listening_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "reactive_demo listen"]


@pytest.fixture
def elsewhere(database: str, valkey_url: str) -> Iterator[Elsewhere]:
    other = Elsewhere(database, valkey_url)
    yield other
    other.close()


def test_one_leads_and_the_other_stands_by_until_it_is_gone(
    database: str, profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    leader = listen(database, cache)
    standby = listen(database, cache, state="standby")
    assert standby.status_text == "standby: another listener leads"
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")
    assert standby.stats.applied == 0
    leader.stop()
    begun = time.monotonic()
    standby.wait_until("live")
    assert time.monotonic() - begun < 2
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")
    until("it counts what it wrote", lambda: standby.stats.applied == 1)


def test_listeners_of_other_caches_and_tables_all_lead(
    database: str, cache: Cache, valkey_url: str, redis_server: str, listen: Listen
) -> None:
    listen(database, cache)
    listen(database, Cache(redis_server))
    listen(database, Cache(valkey_url.replace("db=0", "db=1")))


def test_a_standby_tries_once_a_second_however_much_it_hears(
    database: str, profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    tries: list[float] = []

    class CountingFeed(NotifyFeed):
        def open(self) -> object:
            session = super().open()
            lead = session.lead

            def counted(role: str) -> bool:
                tries.append(time.monotonic())
                return lead(role)

            session.lead = counted
            return session

    listen(database, cache)
    with Listener(CountingFeed(database), cache) as standby:
        standby.wait_until("standby")
        begun = time.monotonic()
        for _ in range(300):
            profiles.increment("ada", "likes")
        assert len(tries) <= 2 + (time.monotonic() - begun)


def test_the_newest_replaces_the_one_before_it_in_this_process(
    database: str, profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    ran = [listen(database, cache, takeover=True) for _ in range(5)]
    assert [listener.state for listener in ran] == ["stopped"] * 4 + ["live"]
    until("one thread is left", lambda: len(listening_threads()) == 1)
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")
    until(
        "the last counts what it wrote, alone",
        lambda: [listener.stats.applied for listener in ran] == [0, 0, 0, 0, 1],
    )


def test_without_takeover_the_newest_waits(database: str, cache: Cache, listen: Listen) -> None:
    leader = listen(database, cache, takeover=True)
    listen(database, cache, state="standby")
    assert leader.state == "live"


def test_the_newest_deposes_one_in_another_process_which_does_not_strike_back(
    database: str, profiles: Profiles, cache: Cache, elsewhere: Elsewhere, listen: Listen
) -> None:
    elsewhere.wait_until("live")
    newest = listen(database, cache, takeover=True)
    rests = "standby: a newer listener took over; start this one again to lead"
    elsewhere.wait_until(rests)
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")
    until("it counts what it wrote", lambda: newest.stats.applied == 1)
    newest.stop()
    listen(database, cache)
    assert newest.stats.reconnects == 0, "it was never deposed in turn"
    assert elsewhere.words == [
        *("connecting", "listening", "live"),
        *("connecting", "listening", rests),
    ]


@pytest.mark.parametrize("emptied", [False, True])
def test_who_was_away_while_a_newer_one_led_rests_too(
    database: str,
    cache: Cache,
    listen: Listen,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    *,
    emptied: bool,
) -> None:
    with FaultProxy.to_postgres(database) as wire:
        older = listen(wire.url, cache, takeover=True)
        wire.cut()
        if emptied:
            client.flushdb()
        monkeypatch.setattr(module, "_leaders", {})  # as if it were in another process
        listen(database, cache, takeover=True).stop()
        wire.restore()
        older.wait_until("standby")
        assert older.status_text == f"standby: {module.RESTS}"
        older.stop()


def test_one_who_rests_does_not_hold_up_the_server(
    database: str, cache: Cache, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not read what it listens to makes the server wait, and DROP DATABASE with it."""
    older = listen(database, cache, takeover=True)
    monkeypatch.setattr(module, "_leaders", {})  # as if it were in another process
    listen(database, cache, takeover=True)
    until("it rests", lambda: older.status_text == f"standby: {module.RESTS}")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_notify('profile_change', repeat('x', 1000) || n)"
            " FROM generate_series(1, 5000) n"
        )
        until("everybody has heard all of it", lambda: not unheard(connection))
    older.stop()


def test_the_deposed_connects_again_at_once_and_still_comes_too_late(
    database: str, cache: Cache, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times, since whoever was first to ask again used to win."""
    for _ in range(10):
        older = listen(database, cache, takeover=True)
        monkeypatch.setattr(module, "_leaders", {})  # as if it were in another process
        newer = listen(database, cache, takeover=True)
        older.wait_until("standby")
        assert newer.state == "live"
        newer.stop()
        older.stop()


def test_taking_over_where_nobody_leads_is_no_error(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    listener = listen(database, cache, takeover=True)
    assert listener.stats.reconnects == 0
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    assert connection.execute(held).fetchone()[0] >= 1
