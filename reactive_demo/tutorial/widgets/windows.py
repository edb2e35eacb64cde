"""Cards side by side, like browser windows, and below them what belongs to them."""

import ipywidgets

from reactive_demo.tutorial.widgets.burst import BurstButton
from reactive_demo.tutorial.widgets.card import ProfileCard, profile_picture
from reactive_demo.tutorial.widgets.fallback import StillPicture
from reactive_demo.tutorial.widgets.flow import FlowView
from reactive_demo.tutorial.widgets.still import stacked

__all__ = ["Windows"]


class Windows(StillPicture, ipywidgets.HBox):
    """Cards in a row, which wraps on a narrow page; a burst's button and a flow view below it.

    So a click, the path of its change and what the cards show are on one screen.
    """

    def __init__(self, *views: ProfileCard | BurstButton | FlowView) -> None:
        self.views = views
        super().__init__(list(views), _dom_classes=["rd-windows"])

    @property
    def cards(self) -> list[ProfileCard]:
        """The cards among the views."""
        return [view for view in self.views if isinstance(view, ProfileCard)]

    def close(self) -> None:
        """Close the views, and take the row off the screen."""
        for view in self.views:
            view.close()
        super().close()

    def __repr__(self) -> str:
        return f"Windows({', '.join(map(repr, self.views))})"

    def to_svg(self) -> str:
        """Return the views as a picture, for readers without a kernel."""
        cards = profile_picture(
            *((card.username, card.cache.get(card.username)) for card in self.cards)
        )
        others = [view.to_svg() for view in self.views if not isinstance(view, ProfileCard)]
        return stacked(cards, *others) if others else cards
