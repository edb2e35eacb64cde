"""The figures of a race, as a picture and as a table."""

import base64
import io
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reactive_demo.tutorial.race.looks import LOOKS, milliseconds
from reactive_demo.tutorial.race.race import Measured
from reactive_demo.tutorial.widgets.style import PLOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FigureTable", "Plot"]

# The first import builds a list of fonts, and says so where only a warning belongs.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

RESOLUTION = 0.000_1
"""Seconds that one look at cache and database takes: anything shorter counts as no time."""

LINE_HEIGHT = 0.075
"""Of a label beside the lines, as a part of the plot's height."""


class Plot:
    """How the wait grows with the delay: a line for each strategy, named at its end."""

    def __init__(self, figures: Sequence[Measured]) -> None:
        self.figures = figures

    def png(self) -> bytes:
        """Draw the picture, without a background, for light and dark themes alike."""
        from matplotlib import rc_context  # noqa: PLC0415  (it takes a second)
        from matplotlib.figure import Figure  # noqa: PLC0415

        png = io.BytesIO()
        with rc_context(PLOT):
            picture = Figure(figsize=(8, 3.8), dpi=120, layout="constrained")
            _draw_lines(picture.subplots(), self._by_strategy())
            picture.savefig(png, format="png")
        return png.getvalue()

    def __str__(self) -> str:
        """Tell the picture in words."""
        waits = (
            f"{name}: "
            + ", ".join(
                f"{1000 * one.waited:.1f} ms with a delay of {milliseconds(one.delay)}"
                for one in figures
            )
            for name, figures in self._by_strategy().items()
        )
        return f"What the writer waits for. {'; '.join(waits)}."

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/png": base64.b64encode(self.png()).decode(), "text/plain": str(self)}

    def _by_strategy(self) -> dict[str, list[Measured]]:
        """Return each strategy's figures, by delay."""
        figures = sorted(self.figures, key=lambda one: one.delay)
        return {name: [one for one in figures if one.strategy == name] for name in LOOKS}


class FigureTable:
    """The figures of one delay: a line for each strategy."""

    HEAD = ("", "calls", "writer waits", "cache is right", "database is right")

    def __init__(self, figures: Iterable[Measured], delay: float) -> None:
        self.delay = delay
        self._lines = [
            (
                one.strategy,
                str(one.database_calls + one.cache_calls),
                f"{1000 * one.waited:.1f} ms",
                _later(one.cache_behind),
                _later(one.database_behind),
            )
            for one in figures
            if one.delay == delay
        ]

    def __repr__(self) -> str:
        return "\n".join("  ".join(line) for line in self._lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{word}</th>" for word in self.HEAD)
        lines = ("".join(f"<td>{cell}</td>" for cell in line) for line in self._lines)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        caption = f"<caption>With a network delay of {milliseconds(self.delay)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _later(seconds: float) -> str:
    return "at once" if seconds < RESOLUTION else f"{1000 * seconds:.1f} ms later"


def _draw_lines(axes: "Axes", strategies: dict[str, list[Measured]]) -> None:
    ends = {}
    for name, figures in strategies.items():
        colour, marker, size = LOOKS[name]
        delays = [1000 * one.delay for one in figures]
        waits = [1000 * one.waited for one in figures]
        axes.plot(delays, waits, color=colour, marker=marker, markersize=size, clip_on=False)
        axes.set_xticks(delays)
        ends[name] = waits[-1], figures[-1].database_calls + figures[-1].cache_calls
    axes.set_title("Each call costs the writer the delay once more")
    axes.set_xlabel("network delay: what each call to a server takes longer, in ms")
    axes.set_ylabel("the write returns after, in ms")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.tick_params(length=0)
    _name_lines(axes, ends)


def _name_lines(axes: "Axes", ends: dict[str, tuple[float, int]]) -> None:
    """Write each name to the right of its line's end, clear of the others."""
    top, free = axes.get_ylim()[1], 0.0
    names = sorted(ends, key=lambda name: ends[name])
    heights = {}
    for name in names:
        heights[name] = max(ends[name][0] / top, free)
        free = heights[name] + LINE_HEIGHT
    free = 1 - LINE_HEIGHT / 2
    for name in reversed(names):  # what was pushed out on top comes down again
        heights[name] = min(heights[name], free)
        free = heights[name] - LINE_HEIGHT
    for name, height in heights.items():
        calls = ends[name][1]
        axes.text(
            1.03,
            height,
            f"{name}: {calls} call{'s' if calls > 1 else ''}",
            transform=axes.transAxes,
            color=LOOKS[name][0],
            fontsize=9,
            verticalalignment="center",
        )
