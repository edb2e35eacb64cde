"""Cells that are run again: what such a cell makes replaces what it made before.

This is the tutorial's one piece of module state: a notebook knows its old objects by no other name.
"""

from typing import Protocol
from weakref import WeakValueDictionary

__all__ = ["close_previous"]


class Closeable(Protocol):
    """What a cell can make only one of."""

    def close(self) -> None:
        """End it."""


_newest: WeakValueDictionary[str, Closeable] = WeakValueDictionary()


def close_previous(name: str, newest: Closeable) -> None:
    """Close what was made under `name` before `newest`."""
    previous, _newest[name] = _newest.get(name), newest
    if previous is not None and previous is not newest:
        previous.close()
