"""How a check answers: with a sentence, or by raising what did not happen."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from reactive_demo.errors import ReactiveDemoError

__all__ = ["CheckFailed", "Verdict", "patience", "until"]

_patience = ContextVar("patience", default=math.inf)


class CheckFailed(ReactiveDemoError):
    """Which hop did not happen, and what to look at."""


class Verdict:
    """A check that went well, in words."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence

    def __repr__(self) -> str:
        return f"✓ {self.sentence}"


def until(what: str, condition: Callable[[], Any], timeout: float = 5) -> Verdict:
    """Wait until `condition()` is true, at most `timeout` seconds; `what` names it."""
    timeout = min(timeout, _patience.get())
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise CheckFailed(f"Waited {timeout:g} s in vain: {what}.")
        time.sleep(0.01)
    return Verdict(what)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let checks in this block wait `seconds` at most: for who expects them to fail."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)
