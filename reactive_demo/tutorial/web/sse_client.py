"""One open stream: it sends one event at a time, and keeps only the latest of those that wait.

So a client that reads slowly costs the memory of one event for each profile that it follows, holds
up nobody else, and still ends on the last value. (The kernel's send buffer is kept small too; it
would be a hidden backlog.)
"""

import asyncio
import time
from collections.abc import Callable

from reactive_demo.tutorial.web.events import HEARTBEAT
from reactive_demo.tutorial.web.options import WebOptions

__all__ = ["SseClient"]

Write = Callable[[bytes], "asyncio.Future[None]"]


class SseClient:
    """Passes events on to `write`, whose future is done when there is room for more.

    `drop` closes the connection of a client that takes nothing. A client that follows several
    profiles wants `named` events. Use it on the loop's thread only.
    """

    def __init__(
        self, write: Write, drop: Callable[[], None], options: WebOptions, *, named: bool = False
    ) -> None:
        self.ended = asyncio.Event()
        self.named = named
        self._write = write
        self._drop = drop
        self._options = options
        self._waiting: dict[str, bytes] = {}
        self._sending = False
        self._sent_at = time.monotonic()

    def send(self, event: bytes, channel: str = "") -> None:
        """Send `event` now, or once the one before it has gone out.

        Of the events of one channel that wait, only the last is sent.
        """
        if self._sending:
            self._waiting[channel] = event
            return
        self._sent_at = time.monotonic()
        future = self._write(event)
        if not future.done():
            self._sending = True
            future.add_done_callback(self._sent)
        elif future.exception() is not None:
            self.end()

    def beat(self, now: float) -> None:
        """Send a heartbeat if the stream has been silent; drop a client that takes nothing."""
        silent = now - self._sent_at
        if self._sending and silent > self._options.client_timeout:
            self._drop()
            self.end()
        elif not self._sending and silent > self._options.heartbeat_after:
            self.send(HEARTBEAT)

    def end(self) -> None:
        """Let the stream end."""
        self.ended.set()

    def _sent(self, future: "asyncio.Future[None]") -> None:
        self._sending = False
        if future.cancelled() or future.exception() is not None:
            self.end()
        elif self._waiting:
            events = b"".join(self._waiting.values())
            self._waiting.clear()
            self.send(events)
