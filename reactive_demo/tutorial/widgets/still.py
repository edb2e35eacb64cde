"""Still pictures of widgets in SVG, for a page without a kernel, in any theme. No I/O."""

import html
import re

from reactive_demo.tutorial.widgets.style import EDGE, INK

__all__ = ["box", "button", "picture", "stacked", "text"]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

MAX_LENGTH = 60
"""Characters of one text."""


def picture(width: int, height: int, title: str, *parts: str) -> str:
    """Return a whole picture that says in words what it shows."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" font-family="{FONT}">'
        f"<title>{html.escape(title)}</title>{''.join(parts)}</svg>"
    )


def stacked(*pictures: str, gap: int = 16) -> str:
    """Return whole pictures one below the other, as one."""
    parts, height, widest = [], 0, 0
    for one in pictures:
        width, its_height = map(int, re.findall(r'viewBox="0 0 (\d+) (\d+)"', one)[0])
        size = f'y="{height}" width="{width}" height="{its_height}" viewBox='
        parts.append(re.sub(r'(width="\d+" height="\d+" )?viewBox=', size, one, count=1))
        height, widest = height + its_height + gap, max(widest, width)
    titles = (html.unescape(title) for title in re.findall(r"<title[^>]*>([^<]*)", "".join(parts)))
    return picture(widest, height - gap, "; ".join(titles), *parts)


def text(
    x: float,
    y: float,
    words: object,
    *,
    size: float = 13,
    fill: str = INK,
    bold: bool = False,
    anchor: str = "middle",
) -> str:
    """Return one line of text; what is too long ends in an ellipsis."""
    line = str(words)
    if len(line) > MAX_LENGTH:
        line = f"{line[: MAX_LENGTH - 1]}…"
    weight = ' font-weight="650"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{fill}"{weight} '
        f'text-anchor="{anchor}">{html.escape(line)}</text>'
    )


def box(
    x: float,
    y: float,
    width: float,
    height: float,
    *,
    fill: str = "none",
    stroke: str = EDGE,
    radius: float = 10,
) -> str:
    """Return a box with round corners."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" '
        f'fill="{fill}" stroke="{stroke}"/>'
    )


def button(x: float, y: float, width: float, words: str, fill: str) -> str:
    """Return a button with white text."""
    return box(x, y, width, 28, fill=fill, stroke="none", radius=7) + text(
        x + width / 2, y + 19, words, fill="#fff", bold=True, size=11.5
    )
