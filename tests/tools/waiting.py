"""How tests wait: for a condition by name, independently of the code under test."""

import time
from collections.abc import Callable
from typing import Any


def until(
    what: str, condition: Callable[[], Any], timeout: float = 20, *, pause: float = 0.01
) -> None:
    """Wait until `condition()` is true; an AssertionError names `what` did not happen in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain: {what}"
        time.sleep(pause)


def while_it_moves(
    what: str,
    condition: Callable[[], Any],
    progress: Callable[[], Any],
    patience: float = 30,
    *,
    pause: float = 0.05,
) -> None:
    """Wait until `condition()` is true, however long that takes, as long as `progress()` changes.

    An AssertionError names `what` when it has stayed the same for `patience` seconds.
    """
    known, deadline = progress(), time.monotonic() + patience
    while not condition():
        if (now := progress()) != known:
            known, deadline = now, time.monotonic() + patience
        assert time.monotonic() < deadline, f"{known} for {patience:g} s, and in vain: {what}"
        time.sleep(pause)
