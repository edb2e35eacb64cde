"""Widgets on a page without a kernel, as on GitHub."""

from typing import Any

__all__ = ["HtmlFallback"]


class HtmlFallback:
    """A base class for widgets, before ipywidgets' own, that adds `to_html()` to the output."""

    def to_html(self) -> str:
        """Return the widget as it is now as plain HTML, for readers without a kernel."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)  # type: ignore[misc]
        return {**bundle, "text/plain": repr(self), "text/html": self.to_html()}
