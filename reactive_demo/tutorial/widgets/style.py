"""Colours and style sheets in one place, for widgets, plots and still pictures.

Widgets follow JupyterLab's theme by its CSS variables (`styled`). Plots and still pictures cannot:
the same file stands on white and on black. So they have no background, and these colours, which
read on both: contrast is at least 4 to 1 on white and on the dark themes of JupyterLab and GitHub.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import ipywidgets

__all__ = ["COLOURS", "EDGE", "FILLS", "INK", "PLOT", "styled"]

INK = "#6f7b83"
"""Text and axes."""

EDGE = "#8b969d"
"""Borders and grids."""

COLOURS = {
    "orange": "#c05a10",
    "blue": "#2f7bd0",
    "violet": "#9b59c4",
    "green": "#2b8a3e",
    "red": "#d0453c",
    "amber": "#a86a00",
}
"""Lines, markers, bars and coloured words."""

FILLS = {"app": "#b3530d", "database": "#336791", "listener": "#546e7a", "cache": "#c6302b"}
"""Boxes with white text, for the stations on the path of a change."""

PLOT: Any = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": EDGE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": EDGE,
    "grid.alpha": 0.35,
    "legend.frameon": False,
}
"""Settings for matplotlib: `with matplotlib.rc_context(PLOT): ...`."""


@cache
def _css() -> str:
    return (files("reactive_demo.tutorial.widgets") / "card.css").read_text(encoding="utf-8")


def styled(html: str) -> ipywidgets.HTML:
    """Return a widget with this HTML and the style sheet."""
    return ipywidgets.HTML(f"<style>{_css()}</style>{html}")
