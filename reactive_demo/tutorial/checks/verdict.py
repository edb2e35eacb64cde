"""How a check answers: with a sentence, or by raising what did not happen."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.waiting import WaitTimeoutError, wait_until

__all__ = ["CheckFailed", "Verdict", "patience", "until", "until_right"]

_patience = ContextVar("patience", default=math.inf)


class CheckFailed(ReactiveDemoError):
    """Which hop did not happen, and what to look at."""


class Verdict:
    """A check that passed, in words."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence

    def __repr__(self) -> str:
        return f"✓ {self.sentence}"


def until(what: str, condition: Callable[[], Any], timeout: float = 5) -> Verdict:
    """Wait until `condition()` is true, at most `timeout` seconds; `what` names it."""
    try:
        wait_until(what, condition, min(timeout, _patience.get()))
    except WaitTimeoutError as error:
        raise CheckFailed(str(error)) from None
    return Verdict(what)


def until_right(complaint: Callable[[], str], timeout: float = 5) -> None:
    """Wait until `complaint()` is empty; after `timeout` seconds, raise what it says then."""
    try:
        until("", lambda: not complaint(), timeout)
    except CheckFailed:
        if words := complaint():
            raise CheckFailed(words) from None


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Limit the waits in this block to `seconds`, for callers that expect a check to fail."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)
