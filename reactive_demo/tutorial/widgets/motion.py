"""What a flow view shows: dots, counts, times. No I/O, and time is passed in.

Each batch that reached the cache is a dot. When there are more than eyes can follow, the last dot
of a frame stands for the rest: changes are *grouped*, for the display only. *Conflated* are changes
that the listener heard and did not write, because a newer row of the same key came with them.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psycopg

from reactive_demo.listener.listener import Applied
from reactive_demo.listener.stats import Hop, Stats, Window
from reactive_demo.tutorial.widgets.wire import Line, applied_line, heard_line, painted_line

__all__ = ["Motion"]

MAX_DOTS = 6
"""Dots in a frame."""

MAX_LINES = 9
"""Lines of the wire in a frame, the newest."""

HOLD = 0.12
"""Seconds that a dot waits for a label to be painted; after that it has none."""

SECONDS = 60
"""How far back the latency is shown, in seconds."""

KEYS = 100
"""Keys whose last write and last painting are remembered."""

NOTHING = Stats()


@dataclass(frozen=True, slots=True)
class Painting:
    """A label that was set."""

    key: str
    at: float
    label: str
    value: object


@dataclass(slots=True)
class Dot:
    """A batch on its way to the screen, and the batches that share its dot."""

    applied_batch: Applied
    keys: frozenset[str]
    rows: int
    heard: int
    notifications: Sequence[psycopg.Notify] = ()
    painted: Painting | None = None
    messages: int = 0
    shown_at: float | None = None


class Motion:
    """Collects what happens until the next frame; the caller must synchronize threads.

    Counts start from `before`, times with the first change that is applied after it.
    """

    def __init__(self, table: str, before: Stats = NOTHING) -> None:
        self._table = table
        self._before = before
        self._pending: list[Dot] = []
        self._heard: Sequence[psycopg.Notify] = ()
        self._painting: deque[Painting] = deque(maxlen=MAX_LINES)
        self._write, self._show = Window(), Window()
        self._writing: dict[str, float] = {}
        self._painted: dict[str, float] = {}
        self._worst: dict[int, float] = {}
        self.written = self.dots = self.grouped = self.conflated = 0

    @property
    def waits(self) -> bool:
        """Whether something is left for another frame."""
        return bool(self._pending or self._painting)

    # What happens

    def wrote(self, key: str, began: float, done: float) -> None:
        """Note that the app wrote `key`."""
        self.written += 1
        self._write.add(began, done)
        _remember(self._writing, key, done - began)

    def heard(self, notifications: Sequence[psycopg.Notify]) -> None:
        """Note what the listener heard; a doorbell may ring after the change has been read."""
        last = self._pending[-1] if self._pending else None
        if last and last.applied_batch.batch.cursor is not None and not last.notifications:
            last.notifications = notifications
        else:
            self._heard = notifications

    def applied(self, applied: Applied) -> None:
        """Note that a batch is in the cache."""
        if applied.batch.changed_at is not None:
            second, latency = int(applied.applied_at), applied.applied_at - applied.batch.changed_at
            self._worst[second] = max(self._worst.get(second, 0.0), latency)
        self.conflated += max(0, applied.batch.received - applied.batch.rows)
        if not applied.newer:
            return
        heard = max(applied.newer, applied.batch.received)
        if len(self._pending) < MAX_DOTS:
            keys = frozenset(change.key for change in applied.batch.changes)
            dot = Dot(applied, keys, applied.newer, heard, self._heard)
            self._heard = ()
            self._pending.append(dot)
            for key in self._painted.keys() & keys:  # the label was faster than Redis's reply
                if self._painted[key] > applied.heard_at:
                    self._show_dot(dot, self._painted[key])
            for painting in list(self._painting):
                if painting.key in keys and painting.at > applied.heard_at:
                    self._painting.remove(painting)
                    dot.painted = painting
                    dot.messages += 1
        else:
            self._pending[-1].rows += applied.newer
            self._pending[-1].heard += heard

    def shown(self, key: str, at: float, label: str, value: object) -> None:
        """Note that the painter set a label that follows `key`."""
        _remember(self._painted, key, at)
        its = [dot for dot in self._pending if key in dot.keys]
        for dot in its:
            self._show_dot(dot, at)
        painting = Painting(key, at, label, value)
        if its:
            its[-1].painted = painting
            its[-1].messages += 1
        else:
            self._painting.append(painting)

    def _show_dot(self, dot: Dot, at: float) -> None:
        if dot.shown_at is None:
            dot.shown_at = at
            self._show.add(dot.applied_batch.applied_at, at)

    # What is shown

    def frame(self, now: float, stats: Stats) -> dict[str, Any]:
        """Return what has happened since the last frame, and the current numbers."""
        ready = [dot for dot in self._pending if _is_ready(dot, now)]
        self._pending = [dot for dot in self._pending if not _is_ready(dot, now)]
        self.dots += len(ready)
        self.grouped += sum(dot.rows - 1 for dot in ready)
        lines = [painted_line(one.label, one.value) for one in self._painting]
        self._painting.clear()
        for dot in ready:
            lines += self._lines(dot)
        times = stats if stats.applied > self._before.applied else NOTHING
        return {
            "dots": [self._dot(dot, ready[0].applied_batch.heard_at) for dot in ready],
            "counts": {
                "written": self.written,
                "heard": stats.received - self._before.received,
                "applied": stats.applied - self._before.applied,
                "dots": self.dots,
                "grouped": self.grouped,
                "conflated": self.conflated,
                "quarantined": stats.quarantined - self._before.quarantined,
            },
            "hops": [
                _ms(h) for h in (self._write.hop, times.announce, times.apply, self._show.hop)
            ],
            "latency": _ms(times.latency),
            "minute": self._minute(int(now)),
            "lines": lines[-MAX_LINES:],
        }

    def _lines(self, dot: Dot) -> Iterator[Line]:
        """Yield what PostgreSQL, the listener and the kernel said about a batch."""
        yield heard_line(dot.notifications)
        yield applied_line(dot.applied_batch, self._table)
        if dot.painted:
            yield painted_line(dot.painted.label, dot.painted.value, dot.messages)

    def _dot(self, dot: Dot, first: float) -> dict[str, Any]:
        applied = dot.applied_batch
        key = next(iter(dot.keys))
        announce = (
            None
            if applied.batch.changed_at is None
            else applied.heard_at - applied.batch.changed_at
        )
        show = None if dot.shown_at is None else dot.shown_at - applied.applied_at
        hops = (
            self._writing.get(key) if len(dot.keys) == 1 else None,
            announce,
            applied.applied_at - applied.heard_at,
            show,
        )
        return {
            "after": round(1000 * (applied.heard_at - first)),
            "applied": dot.rows,
            "heard": dot.heard,
            "shown": dot.shown_at is not None,
            "hops": [None if hop is None else _rounded(max(0.0, hop)) for hop in hops],
        }

    def _minute(self, now: int) -> list[float | None]:
        """Return the worst latency of each of the last 60 seconds, in ms, the newest last."""
        for second in list(islice(self._worst, max(0, len(self._worst) - 2 * SECONDS))):
            del self._worst[second]
        seconds = (self._worst.get(second) for second in range(now - SECONDS + 1, now + 1))
        return [None if worst is None else _rounded(max(0.0, worst)) for worst in seconds]


def _remember(of_keys: dict[str, float], key: str, seconds: float) -> None:
    of_keys[key] = seconds
    if len(of_keys) > KEYS:
        del of_keys[next(iter(of_keys))]


def _is_ready(dot: Dot, now: float) -> bool:
    return dot.shown_at is not None or now - dot.applied_batch.applied_at >= HOLD


def _ms(hop: Hop) -> list[float | None]:
    return [None if one is None else _rounded(one) for one in (hop.last, hop.median)]


def _rounded(seconds: float) -> float:
    return round(1000 * seconds, 2)
