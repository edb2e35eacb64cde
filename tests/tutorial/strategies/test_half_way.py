"""What is left when a strategy fails half-way: each at its own real point, on real servers.

A writer is killed while its second write is held on the wire; or the wire to a server is cut.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import redis

from reactive_demo import (
    Cache,
    ChangeTableFeed,
    Listener,
    NotifyFeed,
    ReactiveDemoError,
    install,
)
from reactive_demo.tutorial.chapter_setup import install_article
from reactive_demo.tutorial.strategies import (
    CacheAside,
    Reactive,
    Strategy,
    WriteBehind,
    WriteThrough,
)
from tools.waiting import until
from tutorial.strategies.conftest import (
    Wires,
    await_quiescence,
    likes,
    until_likes,
    waits_for_a_lock,
)

Make = Callable[..., Any]


@contextmanager
def in_a_thread(doing: Callable[..., object], *arguments: str) -> Iterator[threading.Thread]:
    """Do something that hangs for as long as the block lasts."""
    thread = threading.Thread(target=doing, args=arguments)
    thread.start()
    yield thread
    thread.join(10)
    assert not thread.is_alive()


# The app dies between the two writes


def test_write_through_cache_first_shows_a_change_that_never_happened(
    wires: Wires, database: str, valkey_url: str, make: Make, writer: Make
) -> None:
    reader = make(WriteThrough, database, valkey_url)
    app = writer(WriteThrough)
    wires.postgres.blackhole()
    app.go()
    until_likes(reader, 2)
    app.kill()
    wires.postgres.cut()
    assert (likes(reader), wires.stored()) == (2, 1)
    reader.write("ada", "likes")
    assert (likes(reader), wires.stored()) == (3, 2)  # and it stays so


def test_write_through_database_first_misses_a_change_that_did(
    wires: Wires, database: str, valkey_url: str, make: Make, writer: Make
) -> None:
    reader = make(WriteThrough, database, valkey_url, first="database")
    app = writer(WriteThrough, first="database")
    wires.redis.blackhole()
    app.go()
    until("the database has it", lambda: wires.stored() == 2)
    app.kill()
    wires.redis.cut()
    assert likes(reader) == 1
    reader.write("ada", "likes")  # it copies the whole row
    assert likes(reader) == wires.stored() == 3


def test_cache_aside_shows_the_old_copy_until_it_expires(
    wires: Wires, database: str, valkey_url: str, make: Make, writer: Make
) -> None:
    app = writer(CacheAside)
    reader = make(CacheAside, database, valkey_url, expiry=60)
    assert likes(reader) == 1
    wires.redis.blackhole()
    app.go()
    until("the database has it", lambda: wires.stored() == 2)
    app.kill()
    wires.redis.cut()
    assert likes(reader) == 1
    with redis.Redis.from_url(valkey_url) as client:
        assert 0 < client.pttl("profile:ada") <= 60_000
        client.pexpire("profile:ada", 1)  # the minute is over
        until("the copy is gone", lambda: not client.exists("profile:ada"))
    assert likes(reader) == wires.stored() == 2


def test_a_copy_goes_away_by_itself(database: str, valkey_url: str, make: Make) -> None:
    strategy = make(CacheAside, database, valkey_url, expiry=0.05)
    strategy.write("ada", "likes")
    assert likes(strategy) == 1
    until("the copy is gone", lambda: strategy.copies.get("ada") is None)


@pytest.mark.parametrize("kind", [WriteBehind, Reactive])
def test_what_is_written_in_one_step_is_there_or_is_not(
    wires: Wires,
    database: str,
    valkey_url: str,
    make: Make,
    writer: Make,
    *,
    kind: type[Strategy],
) -> None:
    install(database)
    with Listener(ChangeTableFeed(database), make(Cache, valkey_url)):
        reader = make(kind, database, valkey_url)
        app = writer(kind)
        until_likes(reader, 1)
        wire = wires.redis if kind is WriteBehind else wires.postgres
        asked = wire.round_trips
        wire.blackhole()
        app.go()
        until("it has asked", lambda: wire.round_trips > asked)
        app.kill()
        wire.cut()
        wire.restore()
        again = make(kind, *wires.urls)
        again.write("ada", "likes")
        await_quiescence(again)
        assert likes(reader) == 2


# The second server does not answer


@pytest.mark.parametrize(
    ("first", "shown", "stored"), [("cache", 2, 1), ("database", 1, 2)], ids=["cache", "database"]
)
def test_write_through_raises_and_leaves_the_two_places_apart(
    wires: Wires, make: Make, first: str, shown: int, stored: int
) -> None:
    strategy = make(WriteThrough, *wires.urls, first=first)
    strategy.write("ada", "likes")
    (wires.postgres if first == "cache" else wires.redis).cut()
    with pytest.raises((ReactiveDemoError, redis.ConnectionError)):
        strategy.write("ada", "likes")
    wires.postgres.restore()
    wires.redis.restore()
    assert (likes(strategy), wires.stored()) == (shown, stored)


def test_reactive_raises_and_has_written_nothing(wires: Wires, make: Make) -> None:
    strategy = make(Reactive, *wires.urls)
    strategy.write("ada", "likes")
    wires.postgres.cut()
    with pytest.raises(ReactiveDemoError, match="start that server"):
        strategy.write("ada", "likes")
    assert wires.stored() == 1


def test_reactive_does_not_mind_that_the_cache_is_away(wires: Wires, make: Make) -> None:
    wires.redis.cut()
    make(Reactive, *wires.urls).write("ada", "likes")
    assert wires.stored() == 1


def test_an_answer_that_is_lost_does_not_make_a_write_count_twice(
    wires: Wires, valkey_url: str, database: str, make: Make
) -> None:
    reader = make(WriteBehind, database, valkey_url)
    strategy = make(WriteBehind, *wires.urls)
    strategy.write("ada", "likes")
    wires.redis.delay = 2  # the answer is under way for a second
    failed: list[Exception] = []

    def write() -> None:
        try:
            strategy.write("ada", "likes")
        except redis.ConnectionError as error:
            failed.append(error)

    with in_a_thread(write):
        until_likes(reader, 2)
        wires.redis.cut()
        wires.redis.delay = 0
        wires.redis.restore()
    assert failed
    assert likes(reader) == 2


# Two cross


def test_two_writers_who_cross_leave_the_older_row_with_database_first(
    wires: Wires, database: str, valkey_url: str, make: Make
) -> None:
    slow = make(WriteThrough, *wires.urls, first="database")
    fast = make(WriteThrough, database, valkey_url, first="database")
    slow.write("ada", "likes")
    wires.redis.blackhole()
    with in_a_thread(slow.write, "ada", "likes"):
        until("the slow one is in the database", lambda: wires.stored() == 2)
        fast.write("ada", "likes")
        assert likes(fast) == 3
        wires.redis.restore()
    assert (likes(fast), wires.stored()) == (2, 3)


def test_two_writers_may_cross_where_both_add(
    wires: Wires, database: str, valkey_url: str, make: Make
) -> None:
    slow, fast = make(WriteThrough, *wires.urls), make(WriteThrough, database, valkey_url)
    slow.write("ada", "likes")
    wires.postgres.blackhole()
    with in_a_thread(slow.write, "ada", "likes"):
        until_likes(fast, 2)
        fast.write("ada", "likes")
        wires.postgres.restore()
    assert likes(fast) == wires.stored() == 3


def test_a_reader_who_crosses_a_writer_puts_the_old_copy_back_until_it_expires(
    wires: Wires, database: str, valkey_url: str, make: Make
) -> None:
    slow = make(CacheAside, *wires.urls)
    fast = make(CacheAside, database, valkey_url)
    fast.write("ada", "likes")
    with psycopg.connect(database) as holder:
        holder.execute("LOCK TABLE profile")
        with in_a_thread(slow.read, "ada"):
            until("it asks the database", lambda: waits_for_a_lock(database))
            wires.redis.blackhole()
            asked = wires.redis.round_trips
            holder.rollback()
            until("it has read, and puts a copy", lambda: wires.redis.round_trips > asked)
            fast.write("ada", "likes")
            wires.redis.restore()
    assert (likes(fast), wires.stored()) == (1, 2)
    with redis.Redis.from_url(valkey_url) as client:
        assert client.pttl("profile:ada") > 0


def test_reactive_writers_who_cross_leave_the_last_row(
    wires: Wires, database: str, valkey_url: str, make: Make
) -> None:
    install(database)
    slow, fast = make(Reactive, *wires.urls), make(Reactive, database, valkey_url)
    with Listener(ChangeTableFeed(database), make(Cache, valkey_url)):
        slow.write("ada", "likes")
        wires.postgres.blackhole()
        with in_a_thread(slow.write, "ada", "likes"):
            fast.write("ada", "likes")
            until_likes(fast, 2)
            wires.postgres.restore()
        await_quiescence(fast)
        assert likes(fast) == wires.stored() == 3


# Nobody carries


def test_reactive_is_behind_while_the_listener_is_away_and_catches_up(
    database: str, valkey_url: str, make: Make
) -> None:
    install(database)
    strategy, cache = make(Reactive, database, valkey_url), make(Cache, valkey_url)
    with Listener(ChangeTableFeed(database), cache):
        strategy.write("ada", "likes")
        until_likes(strategy, 1)
    strategy.write("ada", "likes")
    assert likes(strategy) == 1
    with Listener(ChangeTableFeed(database), cache):
        await_quiescence(strategy)
        assert likes(strategy) == 2


def test_the_article_s_listener_does_not_catch_up(
    database: str, valkey_url: str, make: Make
) -> None:
    install_article(database)
    strategy, cache = make(Reactive, database, valkey_url), make(Cache, valkey_url)
    strategy.write("ada", "likes")
    with Listener(NotifyFeed(database), cache) as listener:
        listener.wait_until("live")
        strategy.write("grace", "likes")
        until("it hears", lambda: likes(strategy, "grace") == 1)
        assert likes(strategy) == 0
