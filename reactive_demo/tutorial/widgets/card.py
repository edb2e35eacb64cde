"""A profile as on a social network: name, three counters, three buttons."""

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets

from reactive_demo.app.profiles import COUNTERS, Profiles
from reactive_demo.listener.listener import Listener
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.screen.label import ABSENT, LiveLabel
from reactive_demo.screen.painter import paint
from reactive_demo.tutorial.widgets.fallback import HtmlFallback
from reactive_demo.tutorial.widgets.style import styled

__all__ = ["ProfileCard", "profile_table"]


class ProfileCard(HtmlFallback, ipywidgets.VBox):
    """The profile of `username`: buttons write the database, numbers follow the cache.

    The two never meet in here. With a `listener`, the card shows its state in words. It also shows
    the errors of its buttons. Ends with `close()`.
    """

    def __init__(
        self, profiles: Profiles, cache: Cache, username: str, listener: Listener | None = None
    ) -> None:
        self.username = username
        self._profiles = profiles
        self.cache = cache
        self.labels = {counter: self._label(counter) for counter in COUNTERS}
        self.buttons = {counter: self._button(counter) for counter in COUNTERS}
        self.state = ipywidgets.Label("The card follows the cache.", _dom_classes=["rd-state"])
        self.error = ipywidgets.HTML(_dom_classes=["rd-error"])
        super().__init__(
            [
                styled(_heading(username)),
                ipywidgets.HBox(list(map(self._counter, COUNTERS)), _dom_classes=["rd-counters"]),
                ipywidgets.HBox(list(self.buttons.values()), _dom_classes=["rd-buttons"]),
                self.state,
                self.error,
            ],
            _dom_classes=["rd-card"],
        )
        self._end_observing = listener.observe(self._show_state) if listener else lambda: None

    def close(self) -> None:
        """Stop following the cache, and take the card off the screen."""
        self._end_observing()
        for label in self.labels.values():
            label.close()
        super().close()

    def __repr__(self) -> str:
        return f"ProfileCard({self.username})"

    def to_html(self) -> str:
        """Return the card as it is now as plain HTML, for readers without a kernel."""
        return profile_table(self.username, self.cache.get(self.username))

    def _label(self, counter: str) -> LiveLabel:
        classes = [f"rd-count-{counter}", "rd-number"]
        return LiveLabel(self.cache, self.username, f"{counter}_count", _dom_classes=classes)

    def _button(self, counter: str) -> ipywidgets.Button:
        button = ipywidgets.Button(
            description=f"+ {counter.title()}",
            tooltip=f"Add one to {counter} in the database",
            button_style="primary",
        )
        button.on_click(self._increment(counter))
        return button

    def _increment(self, counter: str) -> Callable[[ipywidgets.Button], None]:
        """Return a callback that writes the database.

        It may run on any thread, as only the painter touches the card.
        """

        def clicked(_: ipywidgets.Button) -> None:
            try:
                self._profiles.increment(self.username, counter)
            except Exception as error:  # noqa: BLE001  (nobody sees a callback's error)
                paint(self.error, value=_alert(error))
            else:
                paint(self.error, value="")

        return clicked

    def _counter(self, counter: str) -> ipywidgets.VBox:
        caption = ipywidgets.Label(counter.title(), _dom_classes=["rd-caption"])
        return ipywidgets.VBox([self.labels[counter], caption], _dom_classes=["rd-counter"])

    def _show_state(self, words: str) -> None:
        paint(self.state, value=f"Listener: {words}")


def profile_table(username: str, row: dict[str, Any] | None) -> str:
    """Return a profile as plain HTML."""
    shown = row or {}
    numbers = "".join(f"<td>{shown.get(f'{name}_count', ABSENT)}</td>" for name in COUNTERS)
    names = "".join(f"<th>{counter.title()}</th>" for counter in COUNTERS)
    return (
        f"<table><caption>@{escape(username)}</caption>"
        f"<thead><tr>{names}</tr></thead><tbody><tr>{numbers}</tr></tbody></table>"
    )


def _heading(username: str) -> str:
    name, initial = escape(username), escape(username[:1].upper())
    return (
        f'<div class="rd-who"><span class="rd-avatar" aria-hidden="true">{initial}</span>'
        f'<span><div class="rd-name">@{name}</div>'
        '<div class="rd-note">writes PostgreSQL, follows Redis</div></span></div>'
    )


def _alert(error: Exception) -> str:
    """Return the words for readers: how it is told to anyone, or else the error's own."""
    words = getattr(error, "public", None) or str(error)
    return f'<div class="rd-error-text" role="alert">{escape(words)}</div>'
