"""What a listener has done so far, and how long its last changes took, hop by hop.

Moments are seconds since the epoch. When a change was made is told by the database's clock, when
it was heard and applied by this machine's. The embedded servers share this machine's; between two
machines, the hop from one to the other is as exact as their clocks agree, and never below 0.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from statistics import median

__all__ = ["Hop", "Recorder", "Stats", "Window"]

WINDOW = 500
"""Batches of which the median is taken."""


@dataclass(frozen=True, slots=True, repr=False)
class Hop:
    """How long a hop took, in seconds; None where that is not known."""

    last: float | None = None
    """The last time."""
    median: float | None = None
    """In the middle, of the last 500 times."""

    def __repr__(self) -> str:
        if self.last is None and self.median is None:
            return "unknown"
        return f"{_shown(self.last)}, median {_shown(self.median)}"


@dataclass(frozen=True, slots=True)
class Stats:
    """What a listener has done so far. Two are equal if they have counted the same."""

    received: int = 0
    """Changes heard."""
    applied: int = 0
    """Changes written to the cache: of several of one key that come together, the last."""
    refused: int = 0
    """Changes that the cache had already, or newer ones."""
    undecodable: int = 0
    """Notifications skipped because they were not changes."""
    quarantined: int = 0
    """Changes that Redis would not take while it took others, or PostgreSQL could not show."""
    unannounced: int = 0
    """Changes that are in the cache, but not published: the account has no right to the channel."""
    reconnects: int = 0
    """Connections made again after one was lost."""
    catch_ups: int = 0
    """Times it had more to read than what had just changed: what it missed, or the whole table."""
    retained_log: int | None = field(default=None, compare=False)
    """Bytes of PostgreSQL's log that a LogFeed's slot retained at the last heartbeat."""
    announce: Hop = field(default=Hop(), compare=False)
    """From the change, before its commit, to the listener that has heard it."""
    apply: Hop = field(default=Hop(), compare=False)
    """From there until it is in the cache."""
    latency: Hop = field(default=Hop(), compare=False)
    """From the change to the cache; of a batch, from its oldest change."""

    @property
    def set_aside(self) -> int:
        """The former name of `quarantined`."""
        return self.quarantined


class Window:
    """How long the last times took, as many as are needed for a median."""

    def __init__(self, size: int = WINDOW) -> None:
        self._known: deque[float] = deque(maxlen=size)
        self._last: float | None = None

    def add(self, since: float | None, until: float) -> None:
        """Note what lies between two moments; nothing is known without the first."""
        self._last = None if since is None else max(0.0, until - since)
        if self._last is not None:
            self._known.append(self._last)

    @property
    def hop(self) -> Hop:
        """The last one and the median."""
        known = list(self._known)
        return Hop(self._last, median(known) if known else None)


class Recorder:
    """Counts for one listener; `stats` may be asked for from any thread."""

    def __init__(self) -> None:
        self._counts = Stats()
        self._announce, self._apply, self._latency = Window(), Window(), Window()
        self.retained_log: int | None = None

    def count(self, **more: int) -> None:
        """Add to the counts of these names."""
        counts = self._counts
        self._counts = replace(
            counts, **{name: getattr(counts, name) + n for name, n in more.items()}
        )

    def time(self, changed_at: float | None, heard_at: float, applied_at: float) -> None:
        """Note when a batch was where."""
        self._announce.add(changed_at, heard_at)
        self._apply.add(heard_at, applied_at)
        self._latency.add(changed_at, applied_at)

    @property
    def stats(self) -> Stats:
        """What was counted until now."""
        return replace(
            self._counts,
            retained_log=self.retained_log,
            announce=self._announce.hop,
            apply=self._apply.hop,
            latency=self._latency.hop,
        )


def _shown(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{1000 * seconds:,.2f} ms"
