"""The connection pool: a few connections, made when they are needed and kept for the next call.

Smaller than psycopg's pool on purpose: a caller meets a dead server as what it is, at once or
within the connect timeout, and not as a time-out of the pool.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore
from typing import Generic, Protocol, TypeVar

__all__ = ["Pool"]


class Closeable(Protocol):
    """What a pool can hold."""

    def close(self) -> None:
        """Close it."""

    @property
    def usable(self) -> bool:
        """Whether the next caller may have it."""


Item = TypeVar("Item", bound=Closeable)


class Pool(Generic[Item]):
    """Lends what `make` makes, `size` at the same time at most.

    Safe to use from any thread. A process that forks may go on using it on both sides: the child
    makes connections of its own, and leaves those of its parent alone.
    """

    def __init__(self, make: Callable[[], Item], size: int = 4) -> None:
        self._make = make
        self._size = size
        self._inherited: list[Item] = []
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._places = BoundedSemaphore(self._size)
        self._idle: list[Item] = []

    @contextmanager
    def lend(self) -> Iterator[Item]:
        """Lend one to the caller alone: one that was kept and still answers, or a new one."""
        if self._pid != os.getpid():
            self._inherited += self._idle  # to close one would say goodbye in the parent's name
            self._begin()
        with self._places:
            item = self._kept() or self._make()
            try:
                yield item
            finally:
                if item.usable:
                    self._idle.append(item)
                else:
                    item.close()

    def close(self) -> None:
        """Close what is idle; a call after that makes new ones."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _kept(self) -> Item | None:
        with suppress(IndexError):
            while True:
                item = self._idle.pop()
                if item.usable:
                    return item
                item.close()
        return None
