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
from reactive_demo.tutorial.widgets.fallback import StillPicture
from reactive_demo.tutorial.widgets.still import box, button, picture, text
from reactive_demo.tutorial.widgets.style import FILLS, styled

__all__ = ["CARD", "ProfileCard", "profile_picture"]

CARD = 300, 170
"""Width and height of a profile in a picture."""

NOTE = "writes PostgreSQL, follows Redis"


class ProfileCard(StillPicture, ipywidgets.VBox):
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

    def to_svg(self) -> str:
        """Return the card as it is now as a picture, for readers without a kernel."""
        return profile_picture((self.username, self.cache.get(self.username)))

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


def profile_picture(*profiles: tuple[str, dict[str, Any] | None]) -> str:
    """Return profiles side by side as a picture."""
    width, height = CARD
    parts = (
        _drawn(n * (width + 16) + 1, username, row or {})
        for n, (username, row) in enumerate(profiles)
    )
    words = "; ".join(_told(username, row or {}) for username, row in profiles)
    return picture(len(profiles) * (width + 16), height, words, *parts)


def _told(username: str, row: dict[str, Any]) -> str:
    numbers = (f"{row.get(f'{name}_count', ABSENT)} {name}" for name in COUNTERS)
    return f"@{username}: {', '.join(numbers)}"


def _drawn(x: float, username: str, row: dict[str, Any]) -> str:
    width, height = CARD
    parts = [
        box(x, 1, width, height - 2, radius=14),
        f'<circle cx="{x + 38:g}" cy="36" r="21" fill="{FILLS["database"]}"/>',
        text(x + 38, 43, username[:1].upper(), size=19, fill="#fff", bold=True),
        text(x + 70, 34, f"@{username}", size=17, bold=True, anchor="start"),
        text(x + 70, 51, NOTE, size=11.5, anchor="start"),
    ]
    for n, counter in enumerate(COUNTERS):
        left = x + 12 + 93 * n
        number = row.get(f"{counter}_count", ABSENT)
        parts += [
            text(left + 45, 96, number, size=25, bold=True),
            text(left + 45, 114, counter.title(), size=12),
            button(left, 128, 90, f"+ {counter.title()}", FILLS["database"]),
        ]
    return "".join(parts)


def _heading(username: str) -> str:
    name, initial = escape(username), escape(username[:1].upper())
    return (
        f'<div class="rd-who"><span class="rd-avatar" aria-hidden="true">{initial}</span>'
        f'<span><div class="rd-name">@{name}</div>'
        f'<div class="rd-note">{NOTE}</div></span></div>'
    )


def _alert(error: Exception) -> str:
    """Return the words for readers: how it is told to anyone, or else the error's own."""
    words = getattr(error, "public", None) or str(error)
    return f'<div class="rd-error-text" role="alert">{escape(words)}</div>'
