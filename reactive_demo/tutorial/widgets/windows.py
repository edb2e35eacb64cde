"""Cards side by side, as two browser windows would be."""

from typing import Any

import ipywidgets

from reactive_demo.tutorial.widgets.card import ProfileCard

__all__ = ["Windows"]


class Windows(ipywidgets.HBox):
    """Cards in a row, which breaks where the page is narrow."""

    def __init__(self, *cards: ProfileCard) -> None:
        self.cards = cards
        super().__init__(list(cards), _dom_classes=["rd-windows"])

    def close(self) -> None:
        """Close the cards, and take the row off the screen."""
        for card in self.cards:
            card.close()
        super().close()

    def __repr__(self) -> str:
        return f"Windows({', '.join(map(repr, self.cards))})"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        cells = "".join(f"<td>{card.to_html()}</td>" for card in self.cards)
        bundle = super()._repr_mimebundle_(**options)
        return {
            **bundle,
            "text/plain": repr(self),
            "text/html": f"<table><tr>{cells}</tr></table>",
        }
