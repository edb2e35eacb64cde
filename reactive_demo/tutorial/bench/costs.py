"""What the feeds cost on this machine, in about twenty seconds: for chapter 08."""

import base64
import io
import logging
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from reactive_demo.servers import Stack
from reactive_demo.tutorial.bench.followers import ARTICLE, DURABLE, following
from reactive_demo.tutorial.bench.latency import latencies
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.tutorial.bench.writes import flood
from reactive_demo.tutorial.widgets.style import COLOURS, INK, PLOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Cost", "Costs", "measure_costs"]

# The first import builds a list of fonts, and says so where only a warning belongs.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

NOTHING = "no cache at all"

WAYS = {"the article's way": ARTICLE, **{pipeline: pipeline for pipeline in DURABLE}}

BARS = dict(zip((NOTHING, *WAYS), ("violet", "amber", "blue", "green"), strict=True))
"""The colour of each bar."""

ROUNDS = 2
"""In which writers write; the better one counts: whatever else runs only slows them down."""


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
            bare, costs = self.measured[0].writes, self.measured
            rates = [f"{one.writes:,.0f}  ({one.writes / bare:.2f} x)" for one in costs]
            waits = ["" if one.latency is None else f"{one.latency:.2f}" for one in costs]
            self._draw(left, "writes a second", [one.writes for one in costs], rates)
            self._draw(right, "ms from commit to cache", [one.latency or 0 for one in costs], waits)
            left.invert_yaxis()
            picture.savefig(png, format="png")
        return png.getvalue()

    def _draw(
        self, axes: "Axes", title: str, values: Sequence[float], words: Sequence[str]
    ) -> None:
        names = [one.name for one in self.measured]
        bars = axes.barh(names, values, color=[COLOURS[BARS[name]] for name in names], height=0.7)
        axes.bar_label(bars, words, padding=4, color=INK, fontsize=9)
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, 1.45 * max(values))
        axes.tick_params(length=0, labelbottom=False)
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/png": base64.b64encode(self.png()).decode(), "text/plain": str(self)}


def measure_costs(
    stack: Stack, say: Callable[[str], None] = print, *, seconds: int = 1, probes: int = 50
) -> Costs:
    """Measure each way for so many `seconds`, with a database of its own; `say` each result."""
    measured = []
    with Places.make(stack) as places:
        for name in BARS:
            measured.append(_measured(places, name, seconds, probes))
            say(f"{len(measured)} of {len(BARS)}: {measured[-1]}")
    return Costs(measured)


def _measured(places: Places, name: str, seconds: int, probes: int) -> Cost:
    def rate() -> float:
        return max(flood(places.database_url, seconds) for _ in range(ROUNDS))

    if name == NOTHING:
        places.bare()
        return Cost(name, rate(), None)
    pipeline = WAYS[name]
    places.prepare(pipeline)
    with following(places, pipeline):
        latency = statistics.median(latencies(places, pipeline, probes))
        return Cost(name, rate(), latency)
