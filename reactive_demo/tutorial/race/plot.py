"""The figures of a race, as a picture and as a table."""

import base64
import io
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reactive_demo.tutorial.race.race import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FigureTable", "Plot", "milliseconds"]

# The first import builds a list of fonts, and says so where only a warning belongs.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

PAPER, INK, PALE = "#f7f9fa", "#1b2529", "#cfd8dc"
LOOKS = {  # colours that all eyes can tell apart, and markers that show where lines overlap
    "write-through, cache first": ("#b3261e", "s", 11),
    "write-through, database first": ("#e08e00", "D", 8),
    "cache-aside": ("#6a1b9a", "^", 5),
    "write-behind": ("#2e7d32", "v", 9),
    "reactive": ("#1565c0", "o", 6),
}

RESOLUTION = 0.000_1
"""Seconds that one look at cache and database takes: anything shorter counts as no time."""


def milliseconds(seconds: float) -> str:
    """Return a delay as people read it."""
    return f"{1000 * seconds:g} ms"


class Plot:
    """On the left the smallest delay in detail, on the right how the wait grows with the delay."""

    def __init__(self, figures: Sequence[Measured]) -> None:
        self.figures = figures

    def png(self) -> bytes:
        """Draw the picture."""
        from matplotlib.figure import Figure  # noqa: PLC0415  (it takes a second)

        picture = Figure(figsize=(8, 3.6), dpi=120, facecolor=PAPER, layout="constrained")
        left, right = picture.subplots(1, 2, width_ratios=(1, 1.25))
        nearest = min(one.delay for one in self.figures)
        _draw_bars(left, [one for one in self.figures if one.delay == nearest])
        _draw_lines(right, self._by_strategy())
        for axes in (left, right):
            axes.set_facecolor(PAPER)
            axes.tick_params(colors=INK, length=0)
            axes.spines[:].set_visible(False)
        png = io.BytesIO()
        picture.savefig(png, format="png", facecolor=PAPER)
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


def _draw_bars(axes: "Axes", figures: Sequence[Measured]) -> None:
    names = [one.strategy.replace(", ", ",\n") for one in figures]
    waits = [1000 * one.waited for one in figures]
    bars = axes.barh(names, waits, color=[LOOKS[one.strategy][0] for one in figures])
    axes.bar_label(bars, fmt="%.1f ms", padding=4, color=INK)
    axes.invert_yaxis()  # the first strategy on top
    axes.set_xticks([])
    axes.margins(x=0.2)
    _title(axes, f"The writer waits: delay {milliseconds(figures[0].delay)}")


def _draw_lines(axes: "Axes", strategies: dict[str, list[Measured]]) -> None:
    for name, figures in strategies.items():
        colour, marker, size = LOOKS[name]
        delays = [1000 * one.delay for one in figures]
        waits = [1000 * one.waited for one in figures]
        axes.plot(delays, waits, color=colour, marker=marker, markersize=size, label=name)
        axes.set_xticks(delays)
    _title(axes, "… and with the delay of each round trip")
    axes.set_xlabel("network delay, ms", color=INK)
    axes.set_ylabel("the writer waits, ms", color=INK)
    axes.set_ylim(bottom=0)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _title(axes: "Axes", words: str) -> None:
    axes.set_title(words, loc="left", color=INK, fontsize=11, fontweight="bold")
