"""The one thread that sets the values of widgets.

Threads that know of changes leave the newest value here. The painter sets it: at once if it has set
none for a while, and 15 times a second at most. A burst of a thousand changes becomes a handful of
messages to the browser, the last one with the last value. (jupyter_server drops messages of a
kernel that sends over 1,000 a second, and a dropped last value would never be seen.)
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from reactive_demo.signals import Signal

__all__ = ["Painter", "paint", "painter"]

log = logging.getLogger(__name__)

FRAME = 1 / 15
"""Seconds between two values of one attribute."""

Setter = Callable[[Any, str, Any], None]


class Painter:
    """Sets attributes of widgets from one thread, the newest value of each, once in `frame` s."""

    def __init__(self, frame: float = FRAME, setter: Setter = setattr) -> None:
        self.painted: Signal[[object, str, object]] = Signal()
        """Sent after an attribute has changed: widget, name, value."""
        self._frame = frame
        self._set = setter
        self._pending: dict[tuple[int, str], tuple[Any, str, Any]] = {}
        self._ready = threading.Condition()
        self._thread: threading.Thread | None = None

    def paint(self, widget: Any, **values: Any) -> None:
        """Leave values for the attributes of `widget`; from any thread."""
        with self._ready:
            known = len(self._pending)
            for name, value in values.items():
                self._pending[id(widget), name] = (widget, name, value)
            if self._thread is None or not self._thread.is_alive():  # the first time, or a fork
                self._thread = threading.Thread(
                    target=self._run, name="reactive_demo paint", daemon=True
                )
                self._thread.start()
            if len(self._pending) > known:  # a newer value is no reason to wake it
                self._ready.notify()

    def _run(self) -> None:
        done: dict[tuple[int, str], float] = {}
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._pending)
                now = time.monotonic()
                done = {which: when for which, when in done.items() if now - when < self._frame}
                due = [self._pending.pop(which) for which in self._pending.keys() - done.keys()]
                if not due:  # wait for the first of them, or for another
                    soonest = min(when for which, when in done.items() if which in self._pending)
                    self._ready.wait(max(0.0, soonest + self._frame - now))
            for widget, name, value in due:
                self._paint(widget, name, value)
                done[id(widget), name] = time.monotonic()

    def _paint(self, widget: Any, name: str, value: Any) -> None:
        before = getattr(widget, name, None) if self.painted else None
        try:
            self._set(widget, name, value)
        except Exception:
            log.exception("%s could not be painted", name)
        else:
            if self.painted and before != value:
                self.painted(widget, name, value)


painter = Painter()
"""The painter of this process: one kernel has one channel to its browser."""

paint = painter.paint
"""Leave values with it: `paint(label, value="1")`."""
