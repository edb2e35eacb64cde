"""Waiting: for a condition by name, and for data or a stop, whichever comes first."""

import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from reactive_demo.errors import ReactiveDemoError

__all__ = ["StopEvent", "WaitTimeoutError", "wait_until"]


SELECTOR = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""One that needs no file descriptor of its own: a process may run out of them."""


class WaitTimeoutError(ReactiveDemoError):
    """What was waited for did not happen in time."""


def wait_until(what: str, condition: Callable[[], Any], timeout: float = 5) -> None:
    """Wait until `condition()` is true.

    Raises WaitTimeoutError, which names `what`, after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise WaitTimeoutError(f"Waited {timeout:g} s in vain: {what}.")
        time.sleep(0.01)


class StopEvent(threading.Event):
    """A `threading.Event` that a selector can wait for as well."""

    def __init__(self) -> None:
        super().__init__()
        self._reader, self._writer = socket.socketpair()

    def __del__(self) -> None:
        self._reader.close()
        self._writer.close()

    def set(self) -> None:
        """Set the event and end every `wait` and `wait_for_data`."""
        super().set()
        self._writer.send(b"\0")

    def wait_for_data(self, connection: int, timeout: float) -> bool:
        """Wait until the file descriptor `connection` is readable; return False if it is not.

        Returns False early when the event is set; `timeout` is in seconds.
        """
        with SELECTOR() as selector:
            for source in (connection, self._reader):
                selector.register(source, selectors.EVENT_READ)
            return any(key.fileobj == connection for key, _ in selector.select(timeout))
