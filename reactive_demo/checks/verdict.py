"""How a check answers: with a sentence, or by raising what did not happen."""

import time
from collections.abc import Callable
from typing import Any

from reactive_demo.errors import ReactiveDemoError

__all__ = ["CheckFailed", "Verdict", "until"]


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
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise CheckFailed(f"Waited {timeout:g} s in vain: {what}.")
        time.sleep(0.01)
    return Verdict(what)
