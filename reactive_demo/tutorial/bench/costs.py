"""What the feeds cost on this machine, in about half a minute: for chapter 08."""

import base64
import io
import logging
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from reactive_demo.servers import Stack
from reactive_demo.tutorial.bench.followers import PIPELINES, following
from reactive_demo.tutorial.bench.latency import latencies
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.tutorial.bench.writes import flood
from reactive_demo.tutorial.widgets.style import COLOURS, INK, PLOT

__all__ = ["Cost", "Costs", "measure_costs"]

# The first import builds a list of fonts, and says so where only a warning belongs.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

NOTHING = "no cache at all"

BARS = dict(zip((NOTHING, *PIPELINES), ("violet", "amber", "blue", "green"), strict=True))
"""The colour of each bar."""


class Cost(NamedTuple):
    """The figures of one way to keep a cache."""

    name: str
    writes: float
    """Transactions a second by 32 writers, with the listener on the same machine."""
    latency: float | None
    """Milliseconds from a commit to the cache under light load; None without a cache."""

    def __str__(self) -> str:
        to_cache = "" if self.latency is None else f", {self.latency:.2f} ms to the cache"
        return f"{self.name}: {self.writes:,.0f} writes a second{to_cache}"


class Costs:
    """What each way costs, as a picture and in words."""

    def __init__(self, measured: Sequence[Cost]) -> None:
        self.measured = measured

    def __str__(self) -> str:
        return "\n".join(map(str, self.measured))

    def png(self) -> bytes:
        """Draw the picture, without a background, for light and dark themes alike."""
        from matplotlib import rc_context  # noqa: PLC0415  (it takes a second)
        from matplotlib.figure import Figure  # noqa: PLC0415

        png = io.BytesIO()
        with rc_context(PLOT):
            picture = Figure(figsize=(8.4, 2.9), dpi=120, layout="constrained")
            left, right = picture.subplots(1, 2, sharey=True)
            bare = self.measured[0].writes
            panels = (
                (left, "writes a second", [one.writes for one in self.measured]),
                (right, "from commit to cache, in ms", [one.latency for one in self.measured]),
            )
            words = (
                [f"{one.writes:,.0f}, {one.writes / bare:.2f} x" for one in self.measured],
                ["" if one.latency is None else f"{one.latency:.2f}" for one in self.measured],
            )
            names = [one.name for one in self.measured]
            for (axes, title, values), said in zip(panels, words, strict=True):
                lengths = [value or 0.0 for value in values]
                bars = axes.barh(names, lengths, color=[COLOURS[BARS[n]] for n in names])
                axes.bar_label(bars, said, padding=4, color=INK, fontsize=9)
                axes.set_title(title, fontsize=10)
                axes.set_xlim(0, 1.45 * max(lengths))
                axes.tick_params(length=0)
                axes.grid(visible=False, axis="y")
            left.invert_yaxis()
            picture.savefig(png, format="png")
        return png.getvalue()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/png": base64.b64encode(self.png()).decode(), "text/plain": str(self)}


def measure_costs(
    stack: Stack, say: Callable[[str], None] = print, *, seconds: int = 2, probes: int = 50
) -> Costs:
    """Measure each way for so many `seconds`, with a database of its own; `say` each result."""
    measured = []
    with Places.make(stack) as places:
        for name in BARS:
            measured.append(_measured(places, name, seconds, probes))
            say(f"{len(measured)} of {len(BARS)}: {measured[-1]}")
    return Costs(measured)


def _measured(places: Places, name: str, seconds: int, probes: int) -> Cost:
    if name == NOTHING:
        places.bare()
        return Cost(name, flood(places.database_url, seconds), None)
    places.prepare(name)
    with following(places, name):
        latency = statistics.median(latencies(places, name, probes))
        return Cost(name, flood(places.database_url, seconds), latency)
