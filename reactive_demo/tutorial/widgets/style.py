"""The style sheet of cards, in the colours of JupyterLab's theme."""

from functools import cache
from importlib.resources import files

import ipywidgets

__all__ = ["styled"]


@cache
def _css() -> str:
    return (files("reactive_demo.tutorial.widgets") / "card.css").read_text(encoding="utf-8")


def styled(html: str) -> ipywidgets.HTML:
    """Return a widget with this HTML and the style sheet."""
    return ipywidgets.HTML(f"<style>{_css()}</style>{html}")
