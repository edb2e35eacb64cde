"""How each strategy looks, in every chart: a colour that reads on light and dark, and a marker."""

from reactive_demo.tutorial.widgets.style import COLOURS

__all__ = ["LOOKS", "milliseconds"]

LOOKS = {  # colours that all eyes can tell apart, and markers that show where lines overlap
    "write-through, cache first": (COLOURS["red"], "s", 9),
    "write-through, database first": (COLOURS["amber"], "D", 7),
    "cache-aside": (COLOURS["violet"], "^", 5),
    "write-behind": (COLOURS["green"], "v", 8),
    "reactive": (COLOURS["blue"], "o", 5),
}
"""The strategies' names, in the order of the charts."""


def milliseconds(seconds: float) -> str:
    """Return a delay as people read it."""
    return f"{1000 * seconds:g} ms"
