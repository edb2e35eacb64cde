"""The status of a listener: its state and the reason, and everyone who watches them."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from reactive_demo.changes import State

__all__ = ["Status"]

log = logging.getLogger(__name__)


class Status:
    """A state and a reason that one thread sets and any thread watches.

    Once it is `stopped`, it stays so.
    """

    def __init__(self) -> None:
        self.state = State.CONNECTING
        self._reason = ""
        self._changed = threading.Condition()
        self._observers: list[Callable[[str], None]] = []

    @property
    def text(self) -> str:
        """The state and its reason, for people."""
        return f"{self.state}: {self._reason}" if self._reason else str(self.state)

    def become(self, state: State, reason: str = "") -> None:
        """Change it and tell the observers, if it is not so already."""
        with self._changed:
            if self.state is State.STOPPED or (state, reason) == (self.state, self._reason):
                return
            self.state, self._reason = state, reason
            self._changed.notify_all()
            for observer in list(self._observers):
                try:
                    observer(self.text)
                except Exception:
                    log.exception("an observer failed")

    def wait_for(self, state: State | str, timeout: float) -> bool:
        """Wait for a state, or until it is stopped; return whether it is in that state."""
        with self._changed:
            self._changed.wait_for(lambda: self.state in (state, State.STOPPED), timeout)
            return self.state == state

    def observe(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call `callback(text)` now and at each change; return a function that ends it."""
        with self._changed:
            callback(self.text)
            self._observers.append(callback)

        def end() -> None:
            with self._changed, suppress(ValueError):
                self._observers.remove(callback)

        return end
