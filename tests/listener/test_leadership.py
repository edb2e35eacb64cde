"""Several listeners: one leads, others stand by, and in a notebook the newest takes over."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis

from reactive_demo import Cache, Listener, NotifyFeed, Profiles
from reactive_demo.feeds.notify import NotifySession
from reactive_demo.listener.listener import SUPERSEDED
from reactive_demo.options import Options
from reactive_demo.tutorial.fault_proxy import FaultProxy
from tools.agreement import cache_follows
from tools.databases import backends, unheard
from tools.waiting import until

Listen = Callable[..., Listener]

FAST = Options(heartbeat=0.02)
"""For a leader that looks often whether it still leads."""

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


@pytest.fixture
def database(article_database: str) -> str:
    """With the article's trigger."""
    return article_database


@pytest.fixture
def elsewhere(database: str, valkey_url: str) -> Iterator[Elsewhere]:
    other = Elsewhere(database, valkey_url)
    yield other
    other.close()


def test_one_leads_and_the_other_stands_by_until_it_is_gone(
    database: str, profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    leader = listen(NotifyFeed(database), cache)
    standby = listen(NotifyFeed(database), cache, state="standby")
    assert standby.status_text == "standby: another listener leads"
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")
    assert standby.stats.applied == 0
    leader.stop()
    standby.wait_until("live")
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")
    until("it counts what it wrote", lambda: standby.stats.applied == 1)


def test_an_address_may_be_spelled_differently(
    database: str, cache: Cache, valkey_url: str, listen: Listen
) -> None:
    with FaultProxy.to_redis(valkey_url) as wire:
        leader = listen(NotifyFeed(database), cache)
        other = Cache(wire.url)
        assert other.name != cache.name
        standby = listen(NotifyFeed(database), other, state="standby")
        leader.stop()
        standby.wait_until("live")
        standby.stop()
        other.close()


def test_listeners_of_other_caches_and_tables_all_lead(
    database: str, cache: Cache, valkey_url: str, redis_server: str, listen: Listen
) -> None:
    listen(NotifyFeed(database), cache)
    listen(NotifyFeed(database), Cache(redis_server))
    listen(NotifyFeed(database), Cache(valkey_url.replace("db=0", "db=1")))


def test_a_standby_tries_no_sooner_however_much_it_hears(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    heard: list[psycopg.Notify] = []

    class Heard(NotifyFeed):
        """Tells what its sessions hear."""

        def open(self) -> NotifySession:
            session = super().open()
            session.on_notify = heard.extend
            return session

    def asked() -> dict[int, list[Any]]:
        """What each listener has last asked the server, and when."""
        found = connection.execute(
            "SELECT pid, query, query_start FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE '%demo listen%'"
        )
        return {pid: what for pid, *what in found}

    listen(NotifyFeed(database), cache)
    leading = asked()
    listen(Heard(database, options=Options(standby_poll=3600)), cache, state="standby")
    (tried,) = (what for pid, what in asked().items() if pid not in leading)
    assert "pg_try_advisory_lock" in tried[0]
    for _ in range(300):
        connection.execute("SELECT reactive.increment('ada', 'likes')")
    until("all is heard", lambda: len(heard) == 300)
    assert tried in asked().values()


def test_the_newest_replaces_the_one_before_it_in_this_process(
    database: str, profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    ran = [listen(NotifyFeed(database), cache, takeover=True) for _ in range(5)]
    for older in ran[:-1]:
        older.wait_until("stopped")
        until("its thread has ended", lambda older=older: not older._thread.is_alive())
    assert ran[-1].state == "live"
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")
    until(
        "the last counts what it wrote, alone",
        lambda: [listener.stats.applied for listener in ran] == [0, 0, 0, 0, 1],
    )


def test_without_takeover_the_newest_waits(database: str, cache: Cache, listen: Listen) -> None:
    leader = listen(NotifyFeed(database), cache, takeover=True)
    listen(NotifyFeed(database), cache, state="standby")
    assert leader.state == "live"


def test_the_newest_preempts_one_in_another_process_which_does_not_strike_back(
    database: str, profiles: Profiles, cache: Cache, elsewhere: Elsewhere, listen: Listen
) -> None:
    elsewhere.wait_until("live")
    newest = listen(NotifyFeed(database), cache, takeover=True)
    elsewhere.wait_until(f"stopped: {SUPERSEDED}")
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")
    until("it counts what it wrote", lambda: newest.stats.applied == 1)
    newest.stop()
    listen(NotifyFeed(database), cache)
    assert newest.stats.reconnects == 0, "it was never preempted in turn"
    assert [words.partition(":")[0] for words in elsewhere.words] == [
        *("connecting", "listening", "live"),
        *("connecting", "listening", "stopped"),
    ]


@pytest.mark.parametrize("emptied", [False, True])
def test_one_that_was_away_while_a_newer_one_led_stops_too(
    database: str, cache: Cache, listen: Listen, client: redis.Redis, *, emptied: bool
) -> None:
    with FaultProxy.to_postgres(database) as wire:
        older = listen(NotifyFeed(wire.url), cache, takeover=True)
        wire.cut()
        if emptied:
            client.flushdb()
        listen(NotifyFeed(database), cache, takeover=True).stop()
        wire.restore()
        older.wait_until("stopped")
        assert older.status_text == f"stopped: {SUPERSEDED}"
        older.check()


def test_a_leader_whose_redis_was_emptied_makes_way_for_a_newer_one(
    database: str, profiles: Profiles, cache: Cache, client: redis.Redis, listen: Listen
) -> None:
    """Its lock has another name by then: the newer one does not meet it."""
    older = listen(NotifyFeed(database, options=FAST), cache, takeover=True)
    client.flushdb()
    listen(NotifyFeed(database), cache, takeover=True).stop()
    older.wait_until("stopped")
    assert older.status_text == f"stopped: {SUPERSEDED}"
    profiles.increment("ada", "likes")
    assert cache.get("ada") is None


def test_a_leader_whose_redis_was_emptied_leads_on_and_hears_everything(
    database: str,
    connection: psycopg.Connection,
    cache: Cache,
    client: redis.Redis,
    listen: Listen,
) -> None:
    leader = listen(NotifyFeed(database, options=FAST), cache)
    client.flushdb()
    until("it has the lock by its new name as well", lambda: held(connection) == 2)
    listen(NotifyFeed(database), cache, state="standby")
    with Profiles(database) as profiles:
        for likes in range(1, 20):
            profiles.increment("ada", "likes")
            cache_follows(profiles, cache, "ada")
            assert cache.get("ada")["likes_count"] == likes
    assert (leader.state, leader.stats.reconnects) == ("live", 0)


def held(connection: psycopg.Connection) -> int:
    """How many advisory locks somebody holds in this database."""
    ((count,),) = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return count


def test_one_that_is_superseded_closes_its_connection(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    """A connection that nobody reads would make the server wait, and DROP DATABASE with it."""
    older = listen(NotifyFeed(database), cache, takeover=True)
    listen(NotifyFeed(database), cache, takeover=True)
    older.wait_until("stopped")
    until("one is left", lambda: len(backends(connection, "reactive_demo listen")) == 1)


def test_a_standby_does_not_hold_up_the_server(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    listen(NotifyFeed(database), cache)
    listen(NotifyFeed(database, options=Options(standby_poll=3600)), cache, state="standby")
    connection.execute(
        "SELECT pg_notify('profile_change', repeat('x', 1000) || n) FROM generate_series(1, 5000) n"
    )
    until("everybody has heard all of it", lambda: not unheard(connection))


def test_a_preempted_leader_connects_again_at_once_and_still_comes_too_late(
    database: str, cache: Cache, listen: Listen
) -> None:
    """Ten times, since the first to ask again used to win."""
    for _ in range(10):
        older = listen(NotifyFeed(database), cache, takeover=True)
        newer = listen(NotifyFeed(database), cache, takeover=True)
        older.wait_until("stopped")
        assert newer.state == "live"
        newer.stop()


def test_without_takeover_a_preempted_leader_stands_by(
    database: str, cache: Cache, listen: Listen
) -> None:
    older = listen(NotifyFeed(database, options=Options(standby_poll=0.05)), cache)
    newer = listen(NotifyFeed(database), cache, takeover=True)
    older.wait_until("standby")
    newer.stop()
    older.wait_until("live")


def test_taking_over_where_nobody_leads_is_no_error(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    listener = listen(NotifyFeed(database), cache, takeover=True)
    assert listener.stats.reconnects == 0
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    assert connection.execute(held).fetchone()[0] >= 1
