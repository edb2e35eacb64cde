"""All strategies, measured side by side on real servers, with as slow a network as you like."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from reactive_demo.app.profiles import Profiles
from reactive_demo.capture.install import install
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.servers import Stack
from reactive_demo.tutorial.chapter_setup import (
    drop_database,
    forget,
    fresh_cache,
    fresh_database,
    install_bare,
)
from reactive_demo.tutorial.fault_proxy import FaultProxy
from reactive_demo.tutorial.reruns import close_previous
from reactive_demo.tutorial.strategies import (
    CacheAside,
    Consumer,
    Reactive,
    Strategy,
    WriteBehind,
    WriteThrough,
)
from reactive_demo.waiting import wait_until

__all__ = ["Measured", "Race"]

DATABASES = ("reactive_demo_race", "reactive_demo_race_reactive")

STRATEGIES: dict[str, Callable[[str, str, str], Strategy]] = {
    "write-through, cache first": WriteThrough,
    "write-through, database first": partial(WriteThrough, first="database"),
    "cache-aside": CacheAside,
    "write-behind": WriteBehind,
    "reactive": Reactive,
}
"""The strategies, by their names in the figures."""

WARM_UP = 6
"""Writes before the first that counts: psycopg prepares a statement at its fifth use."""

TIMEOUT = 10.0
"""Seconds in which a write must arrive everywhere."""

PAUSE = 0.02
"""Seconds, besides three round trips, for consumer and listener to go idle before a write."""

POLL = 0.0002
"""Seconds between two looks at whether a write has arrived."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a write cost, and when it was visible.

    Times are in seconds, each the shortest of several writes: whatever else the machine does only
    adds to them.
    """

    strategy: str
    """Its name."""
    delay: float
    """Added to each round trip to either server."""
    database_calls: int
    """Round trips to the database that the writer waited for."""
    cache_calls: int
    """Round trips to the cache that the writer waited for."""
    waited: float
    """From the call of `write` to its return."""
    cache_behind: float
    """From then on until the cache no longer showed the old row."""
    database_behind: float
    """From then on until the database had the new row."""


@dataclass(frozen=True, slots=True)
class _Lane:
    """One strategy and its profile; `rows` and `copies` look past the wires."""

    name: str
    strategy: Strategy
    rows: Profiles
    copies: Cache

    def write(self) -> None:
        """Like the profile, which no other strategy writes."""
        self.strategy.write(self.name, "likes")

    def likes(self) -> tuple[int | None, int]:
        """Return the likes in the cache, None without a copy, and in the database."""
        copy, row = self.copies.get(self.name), self.rows.get(self.name)
        return copy["likes_count"] if copy else None, row["likes_count"] if row else 0


class Race:
    """The strategies, on two databases of their own; ends with `close()` or with the next race.

    The writers, and the consumer and listener behind them, reach both servers through proxies, so
    a delay applies to all of them alike.
    """

    def __init__(self, stack: Stack) -> None:
        self._opened = ExitStack()
        close_previous(f"race {stack.database_url}", self)
        with ExitStack() as opened:
            bare, captured = (fresh_database(stack, name) for name in DATABASES)
            for name in DATABASES:
                opened.callback(drop_database, stack, name)
            for name in STRATEGIES:  # runs once the proxies are closed, when nobody writes any more
                opened.callback(forget, stack.redis_url, _prefix(name))
            install_bare(bare)
            install(captured)
            to_postgres = partial(FaultProxy.to_postgres, bare)
            to_redis = partial(FaultProxy.to_redis, stack.redis_url)
            proxies = [opened.enter_context(make()) for make in (to_postgres, to_redis) * 2]
            self._proxies = proxies
            self._to_postgres, self._to_redis, consumer_postgres, consumer_redis = proxies

            self._lanes = []
            for name, make in STRATEGIES.items():
                url = captured if make is Reactive else bare
                through = _through(self._to_postgres, url), self._to_redis.url, _prefix(name)
                self._lanes.append(
                    _Lane(
                        name,
                        opened.enter_context(make(*through)),
                        opened.enter_context(Profiles(url)),
                        opened.enter_context(closing(fresh_cache(stack.redis_url, _prefix(name)))),
                    )
                )

            consumer = Consumer(
                _through(consumer_postgres, bare), consumer_redis.url, _prefix("write-behind")
            )
            opened.enter_context(consumer)
            cache = opened.enter_context(closing(Cache(consumer_redis.url, _prefix("reactive"))))
            feed = ChangeTableFeed(_through(consumer_postgres, captured))
            opened.enter_context(Listener(feed, cache, takeover=True)).wait_until("live")
            self._opened = opened.pop_all()
        self._measured: dict[float, list[Measured]] = {}

    @property
    def figures(self) -> list[Measured]:
        """The newest figures of each delay."""
        return [one for delay in sorted(self._measured) for one in self._measured[delay]]

    def run(self, delay: float = 0, writes: int = 7) -> list[Measured]:
        """Let each strategy in turn write a few times, with `delay` seconds more a round trip."""
        for lane in self._lanes:
            for _ in range(WARM_UP):
                lane.write()
            self._settle(lane)
        taken: dict[str, list[tuple[Any, ...]]] = {lane.name: [] for lane in self._lanes}
        with self._delayed(delay):
            for _ in range(writes):
                for lane in self._lanes:
                    taken[lane.name].append(self._write(lane))
        self._measured[delay] = [
            Measured(name, delay, *map(min, zip(*figures, strict=True)))
            for name, figures in taken.items()
        ]
        return self._measured[delay]

    def close(self) -> None:
        """Stop consumer and listener, and close everything; raise what ended them, if anything."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Race({', '.join(lane.name for lane in self._lanes)})"

    @contextmanager
    def _delayed(self, delay: float) -> Iterator[None]:
        for proxy in self._proxies:
            proxy.delay = delay
        try:
            yield
        finally:
            for proxy in self._proxies:
                proxy.delay = 0

    def _settle(self, lane: _Lane) -> int:
        """Wait until there is a copy and nothing is under way; return the likes that both show."""
        lane.strategy.read(lane.name)
        wait_until(f"{lane.name}: both agree", lambda: len(set(lane.likes())) == 1, TIMEOUT)
        time.sleep(PAUSE + 3 * self._to_postgres.delay)
        return lane.likes()[1]

    def _write(self, lane: _Lane) -> tuple[Any, ...]:
        """Write once; return the calls to both servers, and three times in seconds.

        They are: how long the writer waited, and how much later cache and database were right.
        """
        old = self._settle(lane)
        before = self._to_postgres.round_trips, self._to_redis.round_trips
        begun = time.perf_counter()
        lane.write()
        ended = time.perf_counter()
        after = self._to_postgres.round_trips, self._to_redis.round_trips
        cache, database = _arrivals(lane, old)
        return (
            *(late - early for early, late in zip(before, after, strict=True)),
            *(ended - begun, cache - ended, database - ended),
        )


def _arrivals(lane: _Lane, old: int) -> tuple[float, float]:
    """Return when cache and database were first seen without `old`, by `time.perf_counter()`."""
    arrived: dict[str, float] = {}
    deadline = time.perf_counter() + TIMEOUT
    while len(arrived) < 2:  # noqa: PLR2004  (both places)
        if (now := time.perf_counter()) > deadline:
            raise TimeoutError(f"{lane.name}: the write did not arrive within {TIMEOUT:g} s")
        for place, likes in zip(("cache", "database"), lane.likes(), strict=True):
            if likes != old:
                arrived.setdefault(place, now)
        time.sleep(POLL)
    return arrived["cache"], arrived["database"]


def _prefix(name: str) -> str:
    return f"race {name}"


def _through(proxy: FaultProxy, database_url: str) -> str:
    """Return the URL of a database, through a proxy to its server."""
    return make_conninfo(proxy.url, dbname=conninfo_to_dict(database_url)["dbname"])
