"""All strategies, while nothing fails: what they write, in how many calls, and what they refuse."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from reactive_demo import Cache, ChangeTableFeed, Listener, ReactiveDemoError, install
from reactive_demo.app.profiles import COUNTERS
from reactive_demo.tutorial.race.race import STRATEGIES
from reactive_demo.tutorial.strategies import (
    Consumer,
    Reactive,
    Strategy,
    WriteBehind,
    WriteThrough,
)
from tools.waiting import until
from tutorial.strategies.conftest import Wires, await_quiescence, likes, until_likes

CALLS = {  # to the database, to the cache
    "write-through, cache first": (1, 1),
    "write-through, database first": (1, 1),
    "write-behind": (0, 1),
    "cache-aside": (1, 1),
    "reactive": (1, 0),
}


@pytest.fixture(params=STRATEGIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def strategy(
    name: str, wires: Wires, database: str, valkey_url: str, make: Callable[..., Any]
) -> Any:
    """One of them, through the wires; consumer and listener do not use them."""
    with ExitStack() as stack:
        if name == "reactive":
            install(database)
            cache = make(Cache, valkey_url)
            listener = stack.enter_context(Listener(ChangeTableFeed(database), cache))
            listener.wait_until("live")
        if name == "write-behind":
            stack.enter_context(Consumer(database, valkey_url))
        yield make(STRATEGIES[name], *wires.urls)


def test_both_places_end_with_every_count(wires: Wires, strategy: Strategy) -> None:
    for username in ("ada", "grace"):
        for counter in (*COUNTERS, "likes"):
            strategy.write(username, counter)
    await_quiescence(strategy, wires.stored)
    row = {"followings_count": 1, "followers_count": 1, "likes_count": 2}
    for username in ("ada", "grace"):
        assert strategy.read(username) == {"username": username, **row}
        assert wires.stored(username) == 2
    assert strategy.read("nobody") is None


def test_the_writer_waits_for_as_many_calls_as_we_say(
    wires: Wires, strategy: Strategy, name: str
) -> None:
    for _ in range(10):  # connections are made, scripts loaded, statements prepared
        strategy.write("ada", "likes")
    before = wires.postgres.round_trips, wires.redis.round_trips
    for _ in range(5):
        strategy.write("ada", "likes")
    database, cache = CALLS[name]
    assert wires.postgres.round_trips == before[0] + 5 * database
    assert wires.redis.round_trips == before[1] + 5 * cache


def test_many_writers_lose_nothing_in_the_database(wires: Wires, strategy: Strategy) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: strategy.write("ada", "likes"), range(100)))
    await_quiescence(strategy, wires.stored)
    assert wires.stored() == 100


def test_a_profile_that_is_not_cached_keeps_its_counts(
    wires: Wires, strategy: Strategy, name: str
) -> None:
    strategy.rows.incremented("ada", "likes")
    if name == "reactive":
        until_likes(strategy, 1)
    strategy.copies.invalidate("ada")
    strategy.write("ada", "likes")
    await_quiescence(strategy, wires.stored)
    assert likes(strategy) == wires.stored() == 2


def test_a_write_that_the_database_would_refuse_is_made_nowhere(
    wires: Wires, strategy: Strategy
) -> None:
    for username, counter in [("ada", "shares"), ("ada\0", "likes"), ("\ud800", "likes")]:
        with pytest.raises(ReactiveDemoError, match=r"no counter 'shares'|cannot store the name"):
            strategy.write(username, counter)
    assert wires.stored() == likes(strategy) == 0


def test_a_name_may_be_anything_that_the_database_can_hold(
    wires: Wires, strategy: Strategy
) -> None:
    name = "O'Reilly:\\\"{x}\n👩‍💻 \x01"
    strategy.write(name, "likes")
    strategy.write(name, "likes")
    await_quiescence(strategy, wires.stored)
    assert likes(strategy, name) == wires.stored(name) == 2


def test_large_counts_stay_exact(wires: Wires, make: Callable[..., Any]) -> None:
    strategy = make(WriteThrough, *wires.urls)
    large = 10**14 - 2
    strategy.copies.put(
        {"username": "ada", "followings_count": 0, "followers_count": 0, "likes_count": large}
    )
    strategy.write("ada", "likes")
    assert likes(strategy) == large + 1


def test_reactive_tells_the_version_to_wait_for(
    database: str, valkey_url: str, make: Callable[..., Any]
) -> None:
    install(database)
    strategy, cache = make(Reactive, database, valkey_url), make(Cache, valkey_url)
    with Listener(ChangeTableFeed(database), cache):
        cache.wait_for("ada", strategy.write("ada", "likes"))
        assert likes(strategy) == 1


def test_cards_follow_what_the_app_writes_into_the_cache(
    wires: Wires, valkey_url: str, make: Callable[..., Any]
) -> None:
    strategy, cache = make(WriteBehind, *wires.urls), make(Cache, valkey_url)
    shown: list[int] = []
    following = cache.subscribe("ada", lambda row: shown.append(row["likes_count"] if row else 0))
    for _ in range(3):
        strategy.write("ada", "likes")
    until("it was told of the last", lambda: shown[-1:] == [3])
    following.close()
