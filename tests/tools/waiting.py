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
