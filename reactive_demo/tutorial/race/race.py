"""All strategies, measured side by side on real servers, with the network as slow as one likes."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Self

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
from reactive_demo.tutorial.strategies.cache_aside import CacheAside
from reactive_demo.tutorial.strategies.consumer import Consumer
from reactive_demo.tutorial.strategies.reactive import Reactive
from reactive_demo.tutorial.strategies.strategy import Strategy
from reactive_demo.tutorial.strategies.write_behind import WriteBehind
from reactive_demo.tutorial.strategies.write_through import WriteThrough
from reactive_demo.waiting import wait_until

__all__ = ["Measured", "Race"]

DATABASES = ("reactive_demo_race", "reactive_demo_race_reactive")

MAKERS: dict[str, Callable[[str, str, str], Strategy]] = {
    "write-through, cache first": WriteThrough,
    "write-through, database first": partial(WriteThrough, first="database"),
    "cache-aside": CacheAside,
    "write-behind": WriteBehind,
    "reactive": Reactive,
}
"""The strategies, by the names that figures have."""

LIMIT = 10.0
"""Seconds after which something must have arrived."""

REST = 0.02
"""Seconds, and three round trips, in which those who carry come to rest before the next write."""

LOOK = 0.0002
"""Seconds between two looks at what has arrived."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a write cost, and when it could be seen.

    Times are in milliseconds, each the shortest of the writes: what else the machine does only
    ever adds.
    """

    strategy: str
    """Its name."""
    delay: float
    """By which a round trip to either server took longer."""
    database_calls: int
    """Round trips to the database that the writer waited for."""
    cache_calls: int
    """And to the cache."""
    waited: float
    """From the call of `write` to its return."""
    cache_behind: float
    """From then on until the cache did not show the old row any more."""
    database_behind: float
    """And until the database had the new one."""


@dataclass(frozen=True, slots=True)
class _Lane:
    """One strategy; what stands in database and cache is seen from beside the wires."""

    name: str
    strategy: Strategy
    rows: Profiles
    copies: Cache

    def write(self) -> None:
        """One like for a profile that only this strategy writes."""
        self.strategy.write(self.name, "likes")

    def likes(self) -> tuple[int | None, int]:
        """In the cache, None without a copy, and in the database."""
        copy, row = self.copies.get(self.name), self.rows.get(self.name)
        return copy["likes_count"] if copy else None, row["likes_count"] if row else 0


class Race:
    """The strategies on two databases of their own; ends with `close()`, or with the next race.

    Writers, and those who carry changes behind them, reach both servers through relays, so a delay
    holds for all of them alike. One who looks is not delayed.
    """

    def __init__(self, stack: Stack) -> None:
        self._opened = ExitStack()
        close_previous(f"race {stack.database_url}", self)
        with ExitStack() as opened:
            bare, captured = (fresh_database(stack, name) for name in DATABASES)
            for name in DATABASES:
                opened.callback(drop_database, stack, name)
            for name in MAKERS:  # after the wires are closed: then nobody writes any more
                opened.callback(forget, stack.redis_url, _prefix(name))
            install_bare(bare)
            install(captured)
            self._writer, self._carrier = (
                (
                    opened.enter_context(FaultProxy.to_postgres(bare)),
                    opened.enter_context(FaultProxy.to_redis(stack.redis_url)),
                )
                for _ in range(2)
            )
            self._lanes = [
                self._lane(opened, name, captured if make is Reactive else bare, stack.redis_url)
                for name, make in MAKERS.items()
            ]
            self._carry(opened, bare, captured)
            self._opened = opened.pop_all()
        self._measured: dict[float, list[Measured]] = {}

    @property
    def figures(self) -> list[Measured]:
        """The newest figures of each delay."""
        return [one for delay in sorted(self._measured) for one in self._measured[delay]]

    def run(self, delay: float = 0, writes: int = 7) -> list[Measured]:
        """Let each strategy write a few times, in turn, with `delay` milliseconds a round trip."""
        for lane in self._lanes:
            self._warm(lane)
        for wire in (*self._writer, *self._carrier):
            wire.delay = delay / 1000
        taken: dict[str, list[tuple[float, ...]]] = {lane.name: [] for lane in self._lanes}
        try:
            for _ in range(writes):
                for lane in self._lanes:
                    taken[lane.name].append(self._write(lane))
        finally:
            for wire in (*self._writer, *self._carrier):
                wire.delay = 0
        self._measured[delay] = [_measured(name, delay, taken[name]) for name in taken]
        return self._measured[delay]

    def close(self) -> None:
        """End those who carry, and close what was opened; raise what they hid."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Race({', '.join(lane.name for lane in self._lanes)})"

    def _lane(self, opened: ExitStack, name: str, database_url: str, redis_url: str) -> _Lane:
        postgres, redis = self._writer
        make, prefix = MAKERS[name], _prefix(name)
        return _Lane(
            name,
            opened.enter_context(make(_same(postgres, database_url), redis.url, prefix)),
            opened.enter_context(Profiles(database_url)),
            opened.enter_context(closing(fresh_cache(redis_url, prefix))),
        )

    def _carry(self, opened: ExitStack, bare: str, captured: str) -> None:
        postgres, redis = self._carrier
        opened.enter_context(Consumer(_same(postgres, bare), redis.url, _prefix("write-behind")))
        cache = opened.enter_context(closing(Cache(redis.url, _prefix("reactive"))))
        feed = ChangeTableFeed(_same(postgres, captured))
        opened.enter_context(Listener(feed, cache, takeover=True)).wait_until("live")

    def _warm(self, lane: _Lane) -> None:
        """Let nobody pay for connections and plans; have a copy in the cache, and all settled."""
        for _ in range(6):
            lane.write()
        self._settle(lane)

    def _settle(self, lane: _Lane) -> int:
        """Have a copy, and nothing under way; the likes that both hold."""
        lane.strategy.read(lane.name)
        wait_until(f"{lane.name}: both agree", lambda: len(set(lane.likes())) == 1, LIMIT)
        time.sleep(REST + 3 * self._writer[0].delay)
        return lane.likes()[1]

    def _write(self, lane: _Lane) -> tuple[float, ...]:
        """Calls to both, and seconds: waited, until the cache is right, until the database is."""
        old = self._settle(lane)
        postgres, redis = self._writer
        before = postgres.round_trips, redis.round_trips
        begun = time.perf_counter()
        lane.write()
        ended = time.perf_counter()
        calls = postgres.round_trips - before[0], redis.round_trips - before[1]
        cache, database = _arrivals(lane, old)
        return (*calls, ended - begun, cache - ended, database - ended)


def _arrivals(lane: _Lane, old: int) -> tuple[float, float]:
    """When cache and database were first seen without `old`, as by `time.perf_counter()`."""
    cache: float | None = None
    database: float | None = None
    pause, deadline = threading.Event(), time.perf_counter() + LIMIT
    while (now := time.perf_counter()) < deadline:
        copy, row = lane.likes()
        cache = now if cache is None and copy != old else cache
        database = now if database is None and row != old else database
        if cache is not None and database is not None:
            return cache, database
        pause.wait(LOOK)
    raise TimeoutError(f"{lane.name}: nothing arrived within {LIMIT:g} s")


def _measured(name: str, delay: float, taken: list[tuple[float, ...]]) -> Measured:
    database, cache, *seconds = (min(values) for values in zip(*taken, strict=True))
    waited, cache_behind, database_behind = (1000 * second for second in seconds)
    return Measured(name, delay, int(database), int(cache), waited, cache_behind, database_behind)


def _prefix(name: str) -> str:
    return f"race {name}"


def _same(wire: FaultProxy, database_url: str) -> str:
    """Another database of the server that the wire leads to."""
    return make_conninfo(wire.url, dbname=conninfo_to_dict(database_url)["dbname"])
