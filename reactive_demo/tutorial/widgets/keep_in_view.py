"""What the text says to watch, kept in sight while the page moves."""

from pathlib import Path
from typing import Any

import anywidget
import ipywidgets

from reactive_demo.screen.grid import RowGrid
from reactive_demo.tutorial.widgets.fallback import StillPicture

__all__ = ["KeepInView"]

VIEW = "application/vnd.jupyter.widget-view+json"


class KeepInView(ipywidgets.VBox):
    """A widget, and above it a button that opens a second view of it beside the page."""

    def __init__(self, widget: StillPicture | RowGrid) -> None:
        self.widget = widget
        super().__init__([_Button(), widget])

    def __repr__(self) -> str:
        return repr(self.widget)

    def to_svg(self) -> str:
        """Return the widget as a picture, for readers without a kernel; empty for a grid."""
        return self.widget.to_svg() if isinstance(self.widget, StillPicture) else ""

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        still: dict[str, Any] = self.widget._repr_mimebundle_(**options)
        return {**still, VIEW: super()._repr_mimebundle_(**options)[VIEW]}


class _Button(anywidget.AnyWidget):
    """The button; the second view does without."""

    _esm = Path(__file__).with_name("keep_in_view.js")
    _css = ".jp-LinkedOutputView .rd-keep-in-view { display: none }"
