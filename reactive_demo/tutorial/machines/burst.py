"""Writes that go on while servers die, and how long the cache stood still meanwhile."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import redis

from reactive_demo.app.profiles import Profiles
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tutorial.machines.machines import Machines
from reactive_demo.waiting import wait_until

__all__ = ["Burst"]

WRITERS = 2
PAUSE = 0.003
"""Seconds between two writes of one writer: steady rather than fast."""

LOOK = 0.01
"""Seconds between two looks at the cache."""

PATIENCE = 30.0
"""Seconds in which the cache must move again."""


class Burst:
    """Likes for `usernames` in turn, from the start of a `with` block until the cache moves again.

    A write that is refused is tried again. Meanwhile the cache is watched, one profile on each
    Redis node.
    """

    def __init__(
        self, machines: Machines, profiles: Profiles, cache: Cache, usernames: Sequence[str]
    ) -> None:
        self.acknowledged: Counter[str] = Counter()
        """The likes that the database has confirmed, by username."""
        self.refused = 0
        """Writes that failed, before they were tried again."""
        self._profiles, self._cache, self._usernames = profiles, cache, usernames
        self._lock = threading.Lock()
        self._ended = threading.Event()
        names = {machines.name(machines.holder(cache.redis_key(one))): one for one in usernames}
        self._watched = {name: _Standstill(one) for name, one in sorted(names.items())}
        self._threads = [
            *(threading.Thread(target=self._write, args=[n], daemon=True) for n in range(WRITERS)),
            *(
                threading.Thread(target=self._watch, args=[one], daemon=True)
                for one in self._watched.values()
            ),
        ]

    @property
    def standstill(self) -> dict[str, float]:
        """For each Redis node, how many seconds a profile on it did not move, at the longest."""
        return {name: one.longest for name, one in self._watched.items()}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        try:
            self._await_movement()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._await_movement()
        finally:
            self._end()

    def _end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _await_movement(self) -> None:
        now = time.monotonic()
        wait_until(
            "the cache moves on every node",
            lambda: all(one.moved_at > now for one in self._watched.values()),
            PATIENCE,
        )

    def _write(self, first: int) -> None:
        number = first
        while not self._ended.wait(PAUSE):
            username = self._usernames[number % len(self._usernames)]
            try:
                self._profiles.increment(username, "likes")
            except ReactiveDemoError:
                self.refused += 1
            else:
                with self._lock:
                    self.acknowledged[username] += 1
                number += 1

    def _watch(self, one: "_Standstill") -> None:
        while not self._ended.wait(LOOK):
            try:
                one.see(self._cache.get(one.username))
            except redis.RedisError:
                continue  # it is away, so what is shown stands still

    def __repr__(self) -> str:
        lines = [f"{self.acknowledged.total():,} writes, and {self.refused:,} attempts refused"]
        for name, seconds in self.standstill.items():
            lines.append(f"what was on {name} stood still for {seconds:.1f} s at the longest")
        return "\n".join(lines)


class _Standstill:
    """When a profile in the cache last moved, and how long it did not, at the longest."""

    def __init__(self, username: str) -> None:
        self.username = username
        self.longest = 0.0
        self.moved_at = 0.0
        self._row: dict[str, object] | None = None

    def see(self, row: dict[str, object] | None) -> None:
        """Note what the cache shows."""
        if row == self._row:
            return
        now = time.monotonic()
        if self.moved_at:
            self.longest = max(self.longest, now - self.moved_at)
        self._row, self.moved_at = row, now
