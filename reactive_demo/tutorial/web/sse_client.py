"""One who watches: events go out one at a time, and of those that come meanwhile only the last.

So a viewer who reads slowly costs the place of one event, delays nobody, and ends on the last
value. What waits in his socket is kept small as well: it would be a backlog that nobody sees.
"""

import asyncio
import time
from collections.abc import Callable

from reactive_demo.tutorial.web.events import HEARTBEAT

__all__ = ["SseClient"]

SILENCE = 15.0
"""Seconds after which a viewer who heard nothing gets a heartbeat."""

PATIENCE = 60.0
"""Seconds after which a viewer who takes nothing is taken for gone; a browser comes again."""

Write = Callable[[bytes], "asyncio.Future[None]"]


class SseClient:
    """Passes events on to `write`, whose future is done when there is room for more.

    `drop` closes the connection of one who takes nothing. For one thread: the loop's.
    """

    def __init__(self, write: Write, drop: Callable[[], None]) -> None:
        self.ended = asyncio.Event()
        self._write = write
        self._drop = drop
        self._slot: bytes | None = None
        self._sending = False
        self._sent_at = time.monotonic()

    def show(self, event: bytes) -> None:
        """Send `event`, now or when the one before is out of the way."""
        if self._sending:
            self._slot = event
            return
        self._sent_at = time.monotonic()
        future = self._write(event)
        if not future.done():
            self._sending = True
            future.add_done_callback(self._sent)
        elif future.exception() is not None:
            self.end()

    def beat(self, now: float) -> None:
        """A heartbeat, if it has been silent; the end, if nothing gets through."""
        silent = now - self._sent_at
        if self._sending and silent > PATIENCE:
            self._drop()
            self.end()
        elif not self._sending and silent > SILENCE:
            self.show(HEARTBEAT)

    def end(self) -> None:
        """Let the stream end."""
        self.ended.set()

    def _sent(self, future: "asyncio.Future[None]") -> None:
        self._sending = False
        if future.cancelled() or future.exception() is not None:
            self.end()
        elif self._slot is not None:
            event, self._slot = self._slot, None
            self.show(event)
