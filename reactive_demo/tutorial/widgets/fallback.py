"""Widgets on a page without a kernel, as on GitHub."""

from typing import Any

__all__ = ["StillPicture"]


class StillPicture:
    """A base class for widgets, before ipywidgets' own, that adds `to_svg()` to the output."""

    def to_svg(self) -> str:
        """Return the widget as it is now as a picture, for readers without a kernel."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)  # type: ignore[misc]
        return {**bundle, "text/plain": repr(self), "image/svg+xml": self.to_svg()}
