"""What the text says to watch, kept in sight while the page moves."""

from pathlib import Path

import anywidget
import ipywidgets

from reactive_demo.tutorial.widgets.fallback import StillPicture

__all__ = ["KeepInView"]


class KeepInView(StillPicture, ipywidgets.VBox):
    """A widget, and above it a button that opens a second view of it."""

    def __init__(self, widget: StillPicture) -> None:
        self.widget = widget
        super().__init__([_Button(), widget])

    def __repr__(self) -> str:
        return repr(self.widget)

    def to_svg(self) -> str:
        """Return the widget as a picture, for readers without a kernel."""
        return self.widget.to_svg()


class _Button(anywidget.AnyWidget):
    """The button; the second view does without."""

    _esm = Path(__file__).with_name("keep_in_view.js")
    _css = ".jp-LinkedOutputView .rd-keep-in-view { display: none }"
