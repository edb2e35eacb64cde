"""The path of a change as a moving picture: each dot is a change that a listener applied.

The kernel sends what has happened three or four times a second, however much that is, and `flow.js`
draws it.
"""

import threading
import time
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import anywidget
import psycopg
import traitlets

from reactive_demo.app.profiles import Profiles
from reactive_demo.changes import State
from reactive_demo.listener.listener import Applied, Listener
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.screen.label import LiveLabel
from reactive_demo.screen.painter import paint, painter
from reactive_demo.tutorial.widgets.motion import Motion

__all__ = ["FlowView"]

INTERVAL = 0.3
"""Seconds between two messages to the browser."""

STOPPED_INTERVAL = 1.0
"""The same while the listener is stopped."""

WAITS = {
    State.CONNECTING: "It waits for PostgreSQL to answer.",
    State.LISTENING: "It asks whether it may lead.",
    State.STANDBY: "It waits for the leader to leave.",
    State.CATCHING_UP: "It reads what it has missed.",
    State.DEGRADED: "It keeps its changes and waits for Redis.",
    State.STOPPED: "Nobody carries changes now.",
}
LIVE = {
    "notify": "It waits for a notification.",
    "change table": "It waits for the doorbell, and polls now and then.",
    "log": "It waits for the log to go on.",
}

LINE = "the app ──write──▶ PostgreSQL ──announce──▶ listener ──apply──▶ Redis ──show──▶ label"


class FlowView(anywidget.AnyWidget):
    """The path of each change that `listener` applies, from the app to the label.

    Each change is a dot that moves `slower` times slower than the change did; the numbers are the
    real ones. The first hop shows the writes by `profiles`, the last this process's labels. A
    `compact` view leaves out the last minute and the wire. Ends with `close()`.
    """

    _esm = Path(__file__).with_name("flow.js")
    _css = Path(__file__).with_name("flow.css")

    name = traitlets.Unicode().tag(sync=True)
    slower = traitlets.Int().tag(sync=True)
    compact = traitlets.Bool().tag(sync=True)
    frame = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        listener: Listener,
        name: str = "",
        *,
        profiles: Profiles | None = None,
        slower: int = 200,
        compact: bool = False,
    ) -> None:
        self.listener = listener
        self._lock = threading.Lock()
        self._motion = Motion(listener.cache.table, listener.stats)
        self._words = listener.status_text
        self._last = 0.0
        self._number = 0
        super().__init__(name=name, slower=slower, compact=compact, frame=self._frame(time.time()))
        self.add_class("rd-flow-view")
        self._ends = [
            listener.observe(self._become),
            listener.heard.subscribe(self._heard),
            listener.applied.subscribe(self._applied),
            painter.painted.subscribe(self._painted),
        ]
        if profiles is not None:
            self._ends.append(profiles.wrote.subscribe(self._wrote))

    def close(self) -> None:
        """Detach from the pipeline, and take the picture off the screen."""
        for end in self._ends:
            end()
        super().close()

    @property
    def dots(self) -> int:
        """Dots shown so far."""
        return self._motion.dots

    @property
    def grouped(self) -> int:
        """Changes that shared the dot of another; `dots` and these are all that were applied."""
        return self._motion.grouped

    @property
    def conflated(self) -> int:
        """Changes heard but not written: a newer row of the same key came with them."""
        return self._motion.conflated

    @property
    def due(self) -> bool:
        """Whether something is left to show; the painter sets it when it is time for a frame."""
        return self._motion.waits

    @due.setter
    def due(self, _: bool) -> None:
        now = time.time()
        stopped = self.listener.state is State.STOPPED
        if now - self._last < (STOPPED_INTERVAL if stopped else INTERVAL):
            paint(self, due=True)
            return
        self._last = now
        self.frame = self._frame(now)
        if self.due:
            paint(self, due=True)

    def __repr__(self) -> str:
        return f"FlowView({self.name or self.listener.feed})"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        plain = f"{self!r}\n\n{LINE}\n\nRun the notebook, and a dot moves for each change."
        return {**data, "text/plain": plain, "image/svg+xml": self.to_svg()}, metadata

    def to_svg(self) -> str:
        """Return the path as a picture, for readers without a kernel."""
        return _still()

    # What happens, on any thread

    def _become(self, words: str) -> None:
        self._words = words
        paint(self, due=True)

    def _heard(self, notifications: Sequence[psycopg.Notify]) -> None:
        with self._lock:
            self._motion.heard(notifications)

    def _applied(self, applied: Applied) -> None:
        with self._lock:
            self._motion.applied(applied)
        paint(self, due=True)

    def _wrote(self, key: str, began: float, done: float) -> None:
        with self._lock:
            self._motion.wrote(key, began, done)
        paint(self, due=True)

    def _painted(self, widget: object, name: str, value: object) -> None:
        if name == "value" and isinstance(widget, LiveLabel) and self._follows(widget):
            with self._lock:
                self._motion.shown(widget.key, time.time(), repr(widget), value)
            paint(self, due=True)

    def _follows(self, label: LiveLabel) -> bool:
        ours, its = self.listener.cache, label.cache
        same = isinstance(ours, Cache) and its.redis_url == ours.redis_url
        return same and its.table == ours.table

    def _frame(self, now: float) -> dict[str, Any]:
        state = self.listener.state
        live = LIVE.get(self.listener.feed.kind, "It waits for a change.")
        self._number += 1
        with self._lock:
            shown = self._motion.frame(now, self.listener.stats)
        return {
            **shown,
            "number": self._number,
            "state": str(state),
            "words": self._words,
            "waits": WAITS.get(state, live),
        }


@cache
def _still() -> str:
    return (files("reactive_demo.tutorial.widgets") / "flow.svg").read_text(encoding="utf-8")
