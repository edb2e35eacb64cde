"""The look of cards, in the colours of JupyterLab's theme."""

from functools import cache
from importlib.resources import files

import ipywidgets

__all__ = ["styled"]


@cache
def _css() -> str:
    return (files("reactive_demo.tutorial.widgets") / "card.css").read_text(encoding="utf-8")


def styled(html: str) -> ipywidgets.HTML:
    """A piece of HTML that brings the style sheet with it."""
    return ipywidgets.HTML(f"<style>{_css()}</style>{html}")
