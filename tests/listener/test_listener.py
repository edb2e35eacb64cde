"""The listener on real servers: it carries each change, survives their absence, and stops."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import psycopg
import pytest

from reactive_demo import Cache, Listener, NotifyFeed, Profiles, ReactiveDemoError
from reactive_demo.errors import ConfigurationError
from reactive_demo.listener.stats import Stats
from reactive_demo.options import Options
from tools.agreement import cache_follows
from tools.databases import backends, terminate
from tools.redis_server import RedisServer
from tools.servers import Door
from tools.waiting import until

Listen = Callable[..., Listener]

NAME = "reactive_demo listen"

PATIENT = Options(heartbeat=60, connect_timeout=60, max_backoff=60, standby_poll=60)
"""No wait of a listener ends by itself while a test waits: only a stop ends it."""


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """A server to connect to that never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def database(article_database: str) -> str:
    """With the article's trigger."""
    return article_database


# What it carries


def test_insert_update_and_delete_reach_the_cache(
    database: str, profiles: Profiles, redis_url: str, listen: Listen
) -> None:
    cache = Cache(redis_url)
    listener = listen(NotifyFeed(database), cache)
    for _ in range(2):
        profiles.increment("ada", "likes")
        cache_follows(profiles, cache, "ada")
    assert cache.get("ada")["likes_count"] == 2
    profiles.delete("ada")
    cache_follows(profiles, cache, "ada")
    assert cache.get("ada") is None
    until("all are counted", lambda: listener.stats == Stats(received=3, applied=3))


def test_latency_is_known_where_the_payload_says_when_the_row_changed(
    database: str,
    connection: psycopg.Connection,
    profiles: Profiles,
    cache: Cache,
    listen: Listen,
) -> None:
    listener = listen(NotifyFeed(database), cache)
    profiles.increment("ada", "likes")
    until("it is counted", lambda: listener.stats.applied == 1)
    stats = listener.stats
    assert stats.latency.last == pytest.approx(stats.announce.last + stats.apply.last)
    payload = '{"operation": "INSERT", "row": {"username": "bob"}}'
    connection.execute("SELECT pg_notify('profile_change', %s)", [payload])
    until("it is counted", lambda: listener.stats.applied == 2)
    assert listener.stats.latency.last is None
    assert listener.stats.latency.median == stats.latency.median
    assert listener.stats.catch_ups == 0


def test_subscribers_see_what_is_heard_and_then_what_is_in_the_cache(
    database: str, profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    listener = listen(NotifyFeed(database), cache)
    seen: list[Any] = []
    ends = [
        listener.heard.subscribe(lambda heard: seen.extend(one.channel for one in heard)),
        listener.applied.subscribe(lambda what: seen.append((what, cache.get("ada")))),
    ]
    profiles.increment("ada", "likes")
    until("both are told", lambda: len(seen) == 2)
    channel, (applied, cached) = seen
    assert channel == "profile_change"
    assert cached["likes_count"] == 1
    assert (applied.newer, [change.key for change in applied.batch.changes]) == (1, ["ada"])
    assert applied.heard_at <= applied.applied_at
    for end in ends:
        end()
    profiles.increment("ada", "likes")
    until("it is counted", lambda: listener.stats.applied == 2)
    assert len(seen) == 2


def test_odd_names_reach_the_cache(
    database: str, profiles: Profiles, cache: Cache, listen: Listen, odd_names: list[str]
) -> None:
    listen(NotifyFeed(database), cache)
    for name in odd_names:
        profiles.increment(name, "likes")
    for name in odd_names:
        cache_follows(profiles, cache, name)


def test_a_deletion_whose_key_was_renamed_leaves_the_old_name_in_the_cache(
    database: str, profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    """The article's weakness: its trigger announces a changed key by the new name only."""
    listen(NotifyFeed(database), cache)
    profiles.increment("ada", "likes")
    profiles.rename("ada", "countess")
    cache_follows(profiles, cache, "countess")
    assert profiles.get("ada") is None
    assert cache.get("ada")["likes_count"] == 1


def test_many_changes_of_one_key_in_a_transaction_are_conflated(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    listener = listen(NotifyFeed(database), cache)
    with connection.transaction():
        for _ in range(500):
            connection.execute("SELECT reactive.increment('ada', 'likes')")
    until("the last is cached", lambda: (cache.get("ada") or {}).get("likes_count") == 500)
    until("all are counted", lambda: listener.stats.received == 500)
    assert listener.stats.applied < 500


def test_its_connection_is_known_by_its_name(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    listen(NotifyFeed(database), cache)
    assert len(backends(connection, NAME)) == 1


def test_what_is_no_change_is_passed_over_counted_and_survived(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    listener = listen(NotifyFeed(database), cache)
    payloads = [
        "hello",
        "",
        "[]",
        "[" * 7_000,
        '{"operation": "INSERT", "row": {"username": 7}}',
        '{"operation": "INSERT", "row": {"username": "\\ud83d"}}',
        '{"operation": "INSERT", "row": {"username": "eve", "n": NaN}}',
    ]
    for payload in payloads:
        connection.execute("SELECT pg_notify('profile_change', %s)", [payload])
    connection.execute("SELECT reactive.increment('ada', 'likes')")
    until("the change after them is cached", lambda: cache.get("ada"))
    until("they are counted", lambda: listener.stats.undecodable == len(payloads))
    assert listener.stats.received == 1
    listener.check()
    assert listener.state == "live"


# States


def test_observers_are_told_each_state_in_words(database: str, cache: Cache) -> None:
    words: list[str] = []
    listener = Listener(NotifyFeed(database), cache)
    listener.observe(words.append)
    with listener:
        listener.wait_until("live")
    assert words == ["connecting", "listening", "live", "stopped"]
    assert repr(listener) == "Listener(NotifyFeed(profile), stopped)"


def test_an_observer_that_ended_is_told_nothing_more(
    database: str, cache: Cache, listen: Listen
) -> None:
    listener, words = listen(NotifyFeed(database), cache), []
    end = listener.observe(words.append)
    end()
    end()
    listener.stop()
    assert words == ["live"]


def test_an_observer_that_raises_hurts_neither_the_listener_nor_other_observers(
    database: str, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(words: str) -> None:
        if words != "connecting":
            raise RuntimeError(f"cannot show {words}")

    words: list[str] = []
    listener = Listener(NotifyFeed(database), cache)
    listener.observe(broken)
    listener.observe(words.append)
    with listener:
        listener.wait_until("live")
    assert words == ["connecting", "listening", "live", "stopped"]
    assert "cannot show live" in caplog.text


def test_waiting_for_a_state_that_does_not_come_says_what_is(
    database: str, cache: Cache, listen: Listen
) -> None:
    listener = listen(NotifyFeed(database), cache)
    with pytest.raises(ReactiveDemoError, match=r"not standby after 0\.01 s, it is live"):
        listener.wait_until("standby", timeout=0.01)


def test_with_starts_and_stops_it(
    database: str, connection: psycopg.Connection, cache: Cache
) -> None:
    with Listener(NotifyFeed(database), cache) as listener:
        listener.wait_until("live")
    assert listener.state == "stopped"
    until("its connection is closed", lambda: not backends(connection, NAME))


def test_stopping_twice_or_before_the_start_is_no_error(database: str, cache: Cache) -> None:
    listener = Listener(NotifyFeed(database), cache)
    listener.stop()
    listener.stop()
    assert listener.state == "stopped"


# PostgreSQL away


def test_a_terminated_backend_is_replaced_and_later_changes_arrive(
    database: str,
    connection: psycopg.Connection,
    profiles: Profiles,
    cache: Cache,
    listen: Listen,
) -> None:
    listener = listen(NotifyFeed(database), cache)
    words: list[str] = []
    listener.observe(words.append)
    for n in (1, 2):
        terminate(connection, NAME)
        until("it is live again", lambda n=n: words.count("live") == n + 1)
        profiles.increment("ada", "likes")
        cache_follows(profiles, cache, "ada")
        assert listener.stats.reconnects == n
    assert [one.partition(":")[0] for one in words] == [
        "live",
        *["connecting", "listening", "live"] * 2,
    ]
    assert words[1].startswith("connecting: PostgreSQL does not answer (")


def test_a_server_that_appears_later_is_found(
    door: Door, profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    listener = listen(NotifyFeed(door.url), cache, state="connecting")
    until("it says why it waits", lambda: "PostgreSQL does not answer" in listener.status_text)
    assert listener.state == "connecting"
    assert "No such file or directory" in listener.status_text
    assert "\n" not in listener.status_text
    door.open()
    listener.wait_until("live")
    assert listener.status_text == "live"
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")


def test_a_server_that_goes_and_comes_back_is_found_again(
    door: Door, profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    door.open()
    listener = listen(NotifyFeed(door.url), cache)
    door.shut()
    listener.wait_until("connecting")
    until("it says why it waits", lambda: "PostgreSQL does not answer" in listener.status_text)
    door.open()
    listener.wait_until("live")
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")


# Redis away


def test_while_redis_is_away_the_changes_in_hand_are_kept(
    database: str, profiles: Profiles, own_redis: RedisServer, listen: Listen
) -> None:
    cache = Cache(own_redis.url)
    listener = listen(NotifyFeed(database), cache)
    own_redis.stop()
    profiles.increment("ada", "likes")
    listener.wait_until("degraded")
    assert listener.status_text.startswith("degraded: Redis does not answer (")
    profiles.increment("ada", "likes")
    profiles.increment("bob", "likes")
    own_redis.start()
    listener.wait_until("live")
    cache_follows(profiles, cache, "ada")
    cache_follows(profiles, cache, "bob")
    assert cache.get("ada")["likes_count"] == 2


def test_while_redis_is_frozen_the_changes_in_hand_are_kept(
    database: str, profiles: Profiles, own_redis: RedisServer, listen: Listen
) -> None:
    cache = Cache(f"{own_redis.url}?socket_timeout=0.3")
    listener = listen(NotifyFeed(database), cache)
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")
    own_redis.freeze()
    profiles.increment("ada", "likes")
    listener.wait_until("degraded")
    own_redis.thaw()
    listener.wait_until("live")
    cache_follows(profiles, cache, "ada")


# A stop


def stop(listener: Listener) -> None:
    """Stop it, and wait for its thread: nothing but the stop would end it so soon."""
    listener.stop()
    assert listener.state == "stopped"
    until("the thread has ended", lambda: not listener._thread.is_alive())


def test_it_stops_when_all_is_quiet(database: str, cache: Cache, listen: Listen) -> None:
    stop(listen(NotifyFeed(database, options=PATIENT), cache))


def test_it_stops_under_a_flood(database: str, cache: Cache, listen: Listen) -> None:
    listener = listen(NotifyFeed(database, options=PATIENT), cache)
    over = threading.Event()

    def write() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            while not over.is_set():
                connection.execute(
                    "SELECT reactive.increment('user ' || n, 'likes')"
                    " FROM generate_series(1, 50) AS n"
                )

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        until("the flood is heard", lambda: listener.stats.received > 1_000, timeout=20)
        stop(listener)
    finally:
        over.set()
        for writer in writers:
            writer.join()


def test_a_stop_does_not_wait_for_an_address_that_does_not_answer(
    silent_server: socket.socket, cache: Cache
) -> None:
    host, port = silent_server.getsockname()
    feed = NotifyFeed(f"host={host} port={port} dbname=demo user=ada", options=PATIENT)
    listener = Listener(feed, cache).start()
    until("it connects", lambda: select.select([silent_server], [], [], 0)[0])
    listener.stop()
    assert listener.state == "stopped"
    assert listener._thread.is_alive(), "it ends once the address answers, or the time is over"
    silent_server.accept()[0].close()
    until("the thread has ended", lambda: not listener._thread.is_alive())


def test_it_stops_between_two_attempts_to_connect(door: Door, cache: Cache, listen: Listen) -> None:
    listener = listen(NotifyFeed(door.url, options=PATIENT), cache, state="connecting")
    until("it tries again", lambda: "does not answer" in listener.status_text)
    stop(listener)


def test_it_stops_while_redis_is_away(
    database: str, profiles: Profiles, own_redis: RedisServer, listen: Listen
) -> None:
    listener = listen(NotifyFeed(database, options=PATIENT), Cache(own_redis.url))
    own_redis.stop()
    profiles.increment("ada", "likes")
    listener.wait_until("degraded")
    stop(listener)


def test_a_stop_does_not_wait_for_a_redis_that_is_frozen(
    database: str, profiles: Profiles, own_redis: RedisServer, listen: Listen
) -> None:
    listener = listen(NotifyFeed(database), Cache(f"{own_redis.url}?socket_timeout=60"))
    own_redis.freeze()
    profiles.increment("ada", "likes")
    until("it is about to write", lambda: listener.stats.received == 1)
    listener.stop()
    assert listener.state == "stopped"
    assert listener._thread.is_alive(), "it ends once Redis answers, or the time is over"
    own_redis.thaw()
    until("the thread has ended", lambda: not listener._thread.is_alive())


def test_it_stops_while_it_stands_by(database: str, cache: Cache, listen: Listen) -> None:
    listen(NotifyFeed(database), cache)
    stop(listen(NotifyFeed(database, options=PATIENT), cache, state="standby"))


# An exception in the thread


class BrokenFeed:
    """A feed with a fault of its own."""

    kind = leads_as = "broken"
    table = "profile"
    options = Options()

    def open(self) -> NoReturn:
        raise ValueError("a fault in the feed")


def test_an_exception_in_the_thread_is_shown_raised_and_never_printed(
    cache: Cache, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    escaped: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", escaped.append)
    listener = Listener(BrokenFeed(), cache).start()
    with pytest.raises(ValueError, match="a fault in the feed"):
        listener.wait_until("stopped")
    listener._thread.join(5)
    assert listener.state == "stopped"
    assert listener.status_text == "stopped: ValueError: a fault in the feed"
    for ask in (listener.check, listener.stop, listener.stop):
        with pytest.raises(ValueError, match="a fault in the feed"):
            ask()
    assert escaped == []
    assert capfd.readouterr() == ("", "")


def test_an_exception_in_the_thread_is_raised_on_leaving_with(cache: Cache) -> None:
    listener = Listener(BrokenFeed(), cache)
    with pytest.raises(ValueError, match="a fault in the feed"), listener:
        listener._thread.join(5)


def raise_after(listener: Listener) -> None:
    listener._thread.join(5)
    raise KeyError("of the block")


def test_an_exception_in_the_block_is_not_hidden_by_one_in_the_thread(cache: Cache) -> None:
    listener = Listener(BrokenFeed(), cache)
    with pytest.raises(KeyError, match="of the block"), listener:
        raise_after(listener)


def test_a_faulty_url_is_raised_and_not_tried_for_ever(cache: Cache) -> None:
    listener = Listener(NotifyFeed("no such=url"), cache).start()
    listener._thread.join(5)
    with pytest.raises(ConfigurationError):
        listener.check()
