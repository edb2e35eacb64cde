"""Curves, as a picture for light and dark pages alike, and in words."""

import base64
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reactive_demo.tutorial.bench.followers import ARTICLE, PIPELINES
from reactive_demo.tutorial.limits.published import Published
from reactive_demo.tutorial.widgets.style import COLOURS, INK, PLOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["NOTHING", "WAYS", "Curve", "Panel", "Picture"]

# The first import builds a list of fonts, and says so where only a warning belongs.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

NOTHING = "no trigger"

WAYS = (NOTHING, *PIPELINES)
"""The ways that are compared, the floor first."""

LOOKS = {
    NOTHING: ("violet", "D", 6),
    ARTICLE: ("amber", "s", 6),
    "the change table": ("blue", "o", 9),
    "the log": ("green", "^", 5),
}
"""Colour, marker and its size for each; two curves that coincide can both be seen."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What was measured of one way."""

    name: str
    points: Sequence[tuple[float, float]]
    tails: Sequence[float] = ()
    """For each point, the 95th percentile, where the point is the median."""
    theirs: bool = False
    """Whether it was published, and not measured here and now."""

    @classmethod
    def published(cls, one: Published) -> "Curve":
        """Return the curve of a published figure."""
        return cls(one.name, one.points, theirs=True)

    def __str__(self) -> str:
        points = (f"{x:,.0f}: {_short(y)}" for x, y in self.points)
        tails = f" (95 % below {', '.join(map(_short, self.tails))})" if self.tails else ""
        return f"{self.name}, {'; '.join(points)}{tails}"


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves over one pair of axes."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    ticks: Sequence[float] = ()
    """Where the x axis has its figures; at each point if there are none."""
    log_x: bool = True
    log_y: bool = False

    def __str__(self) -> str:
        return "\n".join([f"{self.title}. {self.y}, by {self.x}:", *map(str, self.curves)])


class Picture:
    """One or two panels, side by side."""

    def __init__(self, *panels: Panel) -> None:
        self.panels = panels

    def __str__(self) -> str:
        """Tell the picture in words."""
        return "\n".join(map(str, self.panels))

    def curves(self, panel: int = 0) -> dict[str, Curve]:
        """Return what was measured here, by name."""
        return {one.name: one for one in self.panels[panel].curves if not one.theirs}

    def png(self) -> bytes:
        """Draw the picture, without a background."""
        from matplotlib import rc_context  # noqa: PLC0415  (it takes a second)
        from matplotlib.figure import Figure  # noqa: PLC0415

        png = io.BytesIO()
        with rc_context(PLOT):
            picture = Figure(figsize=(8.4, 3.7), dpi=120, layout="constrained")
            for axes, panel in zip(
                picture.subplots(1, len(self.panels), squeeze=False)[0], self.panels, strict=True
            ):
                _draw(axes, panel)
            handles = {
                label: handle
                for axes in picture.axes
                for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
            }
            names = sorted(handles, key=lambda name: [*LOOKS, name].index(name))
            picture.legend(
                [handles[name] for name in names],
                names,
                loc="outside lower center",
                ncols=len(handles),
                fontsize=9,
            )
            picture.savefig(png, format="png")
        return png.getvalue()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/png": base64.b64encode(self.png()).decode(), "text/plain": str(self)}


def _draw(axes: "Axes", panel: Panel) -> None:
    from matplotlib.ticker import LogLocator  # noqa: PLC0415

    if panel.log_x:
        axes.set_xscale("log")
    if panel.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for curve in panel.curves:
        _draw_curve(axes, curve)
    ticks = panel.ticks or sorted({x for curve in panel.curves for x, _ in curve.points})
    axes.set_xticks(ticks, [f"{x:,.0f}" for x in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.x, fontsize=9)
    axes.set_ylabel(panel.y, fontsize=9)
    axes.tick_params(length=0, which="both", labelsize=9, pad=6)
    if not panel.log_y:
        axes.set_ylim(bottom=0)


def _draw_curve(axes: "Axes", curve: Curve) -> None:
    xs, ys = _columns(curve.points)
    if curve.theirs:
        axes.plot(xs, ys, color=INK, marker="x", linestyle=":", label=curve.name)
        return
    name, marker, size = LOOKS.get(curve.name, ("blue", "o", 6))
    colour = COLOURS[name]
    axes.plot(xs, ys, color=colour, marker=marker, markersize=size, label=curve.name, clip_on=False)
    if curve.tails:
        axes.vlines(xs, ys, curve.tails, color=colour, alpha=0.6)
        axes.plot(xs, curve.tails, color=colour, marker="_", linestyle="", markersize=9)


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"  # noqa: PLR2004


def _columns(points: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    xs, ys = zip(*points, strict=True)
    return list(xs), list(ys)
