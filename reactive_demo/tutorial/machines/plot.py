"""The picture of how cost grows: a small plot for each series."""

import io
import logging
from typing import TYPE_CHECKING, NamedTuple

from reactive_demo.tutorial.widgets.style import COLOURS, PLOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes


__all__ = ["Series", "draw"]

# The first import builds a list of fonts, and says so where only a warning belongs.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

ROWS, COLUMNS = 2, 3


class Series(NamedTuple):
    """What grows, and what that costs."""

    title: str
    grows: str
    """What the numbers on the horizontal axis count."""
    unit: str
    points: list[tuple[int, float]]


def draw(series: "Sequence[Series]") -> bytes:
    """Draw the series that there are; the places of the others stay empty."""
    from matplotlib import rc_context  # noqa: PLC0415  (it takes a second)
    from matplotlib.figure import Figure  # noqa: PLC0415

    png = io.BytesIO()
    with rc_context(PLOT):
        picture = Figure(figsize=(9, 4.6), dpi=120, layout="constrained")
        places = picture.subplots(ROWS, COLUMNS).flat
        for number, axes in enumerate(places):
            if number < len(series):
                _draw_one(axes, series[number], list(COLOURS.values())[number])
            else:
                axes.set_axis_off()
        picture.savefig(png, format="png")
    return png.getvalue()


def _draw_one(axes: "Axes", series: "Series", colour: str) -> None:
    counts, costs = zip(*series.points, strict=True)
    axes.plot(counts, costs, color=colour, marker="o", markersize=5, clip_on=False)
    for (count, cost), below in zip(series.points, _valleys(costs), strict=True):
        axes.annotate(
            f"{cost:.3g}",
            (count, cost),
            xytext=(0, -6 if below else 6),
            textcoords="offset points",
            horizontalalignment="center",
            verticalalignment="top" if below else "bottom",
            color=colour,
            fontsize=9,
        )
    axes.set_title(series.title, fontsize=10)
    axes.set_xlabel(series.grows, fontsize=9)
    axes.set_ylabel(series.unit, fontsize=9)
    axes.set_ylim(0, 1.25 * max(costs))
    axes.set_xlim(-0.1 * max(counts), 1.1 * max(counts))
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.tick_params(length=0, labelsize=8)


def _valleys(costs: "Sequence[float]") -> list[bool]:
    """Return for each point whether the curve runs above it, so that its number goes below."""
    around = [costs[1], *costs, costs[-2]] if len(costs) > 1 else [*costs] * 3
    return [
        before + after > 2 * cost
        for before, cost, after in zip(around, costs, around[2:], strict=False)
    ]
