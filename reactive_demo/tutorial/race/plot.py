"""What was measured, as a picture and as a table."""

import base64
import io
import logging
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from reactive_demo.tutorial.race.race import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FigureTable", "Plot"]

# The first import makes a list of fonts, and says so where only a warning belongs.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

PAPER, INK, PALE = "#f7f9fa", "#1b2529", "#cfd8dc"
LOOKS = {  # colours that all eyes can tell apart; marks that show where lines lie on each other
    "write-through, cache first": ("#b3261e", "s", 11),
    "write-through, database first": ("#e08e00", "D", 8),
    "cache-aside": ("#6a1b9a", "^", 5),
    "write-behind": ("#2e7d32", "v", 9),
    "reactive": ("#1565c0", "o", 6),
}

AT_ONCE = 0.1
"""Milliseconds that a look takes: what is shorter is no time."""


class Plot:
    """Left the smallest delay in detail, right how the wait grows with the delay."""

    def __init__(self, figures: Sequence[Measured]) -> None:
        self.figures = figures

    def png(self) -> bytes:
        """The picture."""
        from matplotlib.figure import Figure  # noqa: PLC0415  (it takes a second)

        picture = Figure(figsize=(8, 3.6), dpi=120, facecolor=PAPER, layout="constrained")
        left, right = picture.subplots(1, 2, width_ratios=(1, 1.25))
        nearest = min(one.delay for one in self.figures)
        _bars(left, [one for one in self.figures if one.delay == nearest])
        _lines(right, self.figures)
        for axes in (left, right):
            axes.set_facecolor(PAPER)
            axes.tick_params(colors=INK, length=0)
            axes.spines[:].set_visible(False)
        kept = io.BytesIO()
        picture.savefig(kept, format="png", facecolor=PAPER)
        return kept.getvalue()

    def __str__(self) -> str:
        """The picture in words."""
        waits = (
            f"{name}: "
            + ", ".join(f"{one.waited:.1f} ms with a delay of {one.delay:g} ms" for one in some)
            for name, some in _by_strategy(self.figures)
        )
        return f"What the writer waits for. {'; '.join(waits)}."

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/png": base64.b64encode(self.png()).decode(), "text/plain": str(self)}


class FigureTable:
    """The figures of one delay, in milliseconds: a line for each strategy."""

    HEAD = ("", "calls", "writer waits", "cache is right", "database is right")

    def __init__(self, figures: Sequence[Measured], delay: float) -> None:
        self.figures = [one for one in figures if one.delay == delay]
        self.delay = delay

    def __repr__(self) -> str:
        return "\n".join("  ".join(line) for line in self._lines())

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(word)}</th>" for word in self.HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>"
            for line in self._lines()
        )
        caption = f"<caption>With a network delay of {self.delay:g} ms</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _lines(self) -> Iterator[tuple[str, ...]]:
        for one in self.figures:
            yield (
                one.strategy,
                str(one.database_calls + one.cache_calls),
                f"{one.waited:.1f} ms",
                _after(one.cache_behind),
                _after(one.database_behind),
            )


def _after(milliseconds: float) -> str:
    return "at once" if milliseconds < AT_ONCE else f"{milliseconds:.1f} ms later"


def _by_strategy(figures: Sequence[Measured]) -> Iterator[tuple[str, list[Measured]]]:
    order = sorted(figures, key=lambda one: (list(LOOKS).index(one.strategy), one.delay))
    for name, some in groupby(order, lambda one: one.strategy):
        yield name, list(some)


def _bars(axes: "Axes", figures: Sequence[Measured]) -> None:
    figures = list(reversed(figures))
    names = [one.strategy.replace(", ", ",\n") for one in figures]
    bars = axes.barh(
        names, [one.waited for one in figures], color=[LOOKS[one.strategy][0] for one in figures]
    )
    axes.bar_label(bars, fmt="%.1f ms", padding=4, color=INK)
    axes.set_xticks([])
    axes.margins(x=0.2)
    _title(axes, f"The writer waits: delay {figures[0].delay:g} ms")


def _lines(axes: "Axes", figures: Sequence[Measured]) -> None:
    for name, some in _by_strategy(figures):
        colour, mark, size = LOOKS[name]
        axes.plot(
            [one.delay for one in some],
            [one.waited for one in some],
            color=colour,
            marker=mark,
            markersize=size,
            label=name,
        )
    _title(axes, "… and with the delay of each round trip")
    axes.set_xlabel("network delay, ms", color=INK)
    axes.set_ylabel("the writer waits, ms", color=INK)
    axes.set_xticks(sorted({one.delay for one in figures}))
    axes.set_ylim(bottom=0)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _title(axes: "Axes", words: str) -> None:
    axes.set_title(words, loc="left", color=INK, fontsize=11, fontweight="bold")
