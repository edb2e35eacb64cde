"""Cards side by side, like browser windows."""

import ipywidgets

from reactive_demo.tutorial.widgets.card import ProfileCard
from reactive_demo.tutorial.widgets.fallback import HtmlFallback

__all__ = ["Windows"]


class Windows(HtmlFallback, ipywidgets.HBox):
    """Cards in a row, which wraps on a narrow page."""

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

    def to_html(self) -> str:
        """Return the cards as plain HTML, for readers without a kernel."""
        cells = "".join(f"<td>{card.to_html()}</td>" for card in self.cards)
        return f"<table><tr>{cells}</tr></table>"
