"""Cells that are run again: the new object takes the place of the old one, which is closed.

This is the tutorial's one piece of module state: nothing else in a notebook still refers to the old
object.
"""

from typing import Protocol
from weakref import WeakValueDictionary

__all__ = ["close_previous"]


class Closeable(Protocol):
    """An object of which a process has one at a time."""

    def close(self) -> None:
        """End it."""


_newest: WeakValueDictionary[str, Closeable] = WeakValueDictionary()


def close_previous(name: str, newest: Closeable) -> None:
    """Close what was registered under `name` before, and register `newest`."""
    previous, _newest[name] = _newest.get(name), newest
    if previous is not None and previous is not newest:
        previous.close()
