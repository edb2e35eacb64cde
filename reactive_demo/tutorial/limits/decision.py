"""The figures of one machine side by side: what each feed carries here."""

from dataclasses import dataclass

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.tutorial.bench.followers import ARTICLE, PIPELINES
from reactive_demo.tutorial.limits.lab import LimitsLab
from reactive_demo.tutorial.limits.picture import Curve

__all__ = ["Decision", "Limits", "decide"]

WORDS = 'align="left" style="text-align: left"'
FIGURE = 'align="right" style="text-align: right; white-space: nowrap"'
"""GitHub reads the attributes only."""

NEEDED = ("writers", "latency", "backlog", "payload", "queue")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one feed does on this machine."""

    writes: float
    """A second, by the most writers that were tried."""
    share: float
    """The same, as a part of what they get without a trigger."""
    light: float
    """Milliseconds from a commit to the cache, at the lowest rate; the median."""
    loaded: float
    """The same at the highest rate; the 95th percentile."""
    catches_up: float | None
    """Changes a second after an absence; None if they are lost."""
    largest: int
    """The bytes of the largest row that was tried and arrived."""
    queued: float
    """The kB that the last step left in the notification queue beside a stuck session."""


class Decision(dict[str, Limits]):
    """The limits of each feed, as a table."""

    HEAD = ("on this machine", *PIPELINES)

    def _rows(self) -> list[tuple[str, ...]]:
        columns = [self[way] for way in PIPELINES]
        return [
            ("writes a second, by 32 writers", *(f"{one.writes:,.0f}" for one in columns)),
            ("of what they get without it", *(f"{one.share:.0%}" for one in columns)),
            ("commit to cache, light load", *(f"{one.light:.1f} ms" for one in columns)),
            ("the same at the highest rate, p95", *(f"{one.loaded:.1f} ms" for one in columns)),
            (
                "after an absence",
                *(
                    f"{one.catches_up:,.0f} changes/s" if one.catches_up else "lost"
                    for one in columns
                ),
            ),
            ("largest row that arrived", *(f"{one.largest:,} bytes" for one in columns)),
            ("left in a blocked queue", *(f"{one.queued:,.0f} kB" for one in columns)),
        ]

    def __repr__(self) -> str:
        return "\n".join("  ".join(row) for row in (self.HEAD, *self._rows()))

    def _repr_html_(self) -> str:
        first, *ways = self.HEAD
        head = f"<th {WORDS}>{first}</th>" + "".join(f"<th {FIGURE}>{way}</th>" for way in ways)
        body = "".join(
            f"<tr><th {WORDS}>{first}</th>"
            + "".join(f"<td {FIGURE}>{cell}</td>" for cell in cells)
            + "</tr>"
            for first, *cells in self._rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def decide(lab: LimitsLab) -> Decision:
    """Return what each feed carries, from what the lab has measured.

    Raises ReactiveDemoError if something was not measured yet.
    """
    if missing := [name for name in NEEDED if name not in lab.pictures]:
        raise ReactiveDemoError(
            f"Not measured yet: {', '.join(missing)}. Run the cells that measure them, then this."
        )
    return Decision({way: _limits(lab, way) for way in PIPELINES})


def _limits(lab: LimitsLab, way: str) -> Limits:
    def curve(name: str, panel: int = 0) -> Curve:
        return lab.pictures[name].curves(panel)[way]

    latency = curve("latency")
    return Limits(
        writes=curve("writers").points[-1][1],
        share=curve("writers", 1).points[-1][1],
        light=latency.points[0][1],
        loaded=latency.tails[-1],
        catches_up=None if way == ARTICLE else curve("backlog", 1).points[-1][1],
        largest=int(curve("payload").points[-1][0]),
        queued=curve("queue").points[-1][1],
    )
