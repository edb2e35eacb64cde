"""A button that writes as fast as it can, to see whether the labels keep up."""

from concurrent.futures import ThreadPoolExecutor

import ipywidgets

from reactive_demo.app.profiles import Profiles
from reactive_demo.screen.painter import paint
from reactive_demo.tutorial.widgets.background import Background
from reactive_demo.tutorial.widgets.fallback import StillPicture
from reactive_demo.tutorial.widgets.still import button, picture
from reactive_demo.tutorial.widgets.style import FILLS

__all__ = ["BurstButton"]

WRITERS = 4
"""Threads."""


class BurstButton(StillPicture, ipywidgets.HBox):
    """Commits `count` transactions, each an increment of one counter, and shows its progress."""

    def __init__(
        self, profiles: Profiles, username: str, counter: str = "likes", count: int = 1000
    ) -> None:
        self._profiles = profiles
        self._target = (username, counter)
        self.count = count
        self._background = Background("burst", self._show_error)
        self.button = ipywidgets.Button(
            description=f"Burst: {count:,} {counter}",
            tooltip=f"{count:,} transactions, as fast as they go",
            button_style="warning",
        )
        self.progress = ipywidgets.IntProgress(max=count)
        self.words = ipywidgets.Label("ready")
        self.button.on_click(lambda _: self._background.start(self._run))
        super().__init__(
            [self.button, self.progress, self.words],
            _dom_classes=["rd-burst"],
        )

    def click(self) -> None:
        """Start a burst, as a click does; while one runs, do nothing."""
        self.button.click()

    def wait(self, timeout: float = 60) -> None:
        """Wait until the burst has committed its last transaction; raise what went wrong."""
        self._background.wait(timeout)

    def __repr__(self) -> str:
        return f"BurstButton({self.count:,} {self._target[1]})"

    def to_svg(self) -> str:
        """Return the button as a picture, for readers without a kernel."""
        words = self.button.description
        return picture(200, 30, words, button(1, 1, 190, words, FILLS["app"]))

    def _run(self) -> None:
        with ThreadPoolExecutor(WRITERS) as writers:
            for n, _ in enumerate(writers.map(self._write, range(self.count)), 1):
                paint(self.progress, value=n)
                paint(self.words, value=f"{n:,} of {self.count:,} committed")

    def _write(self, _: int) -> None:
        self._profiles.increment(*self._target)

    def _show_error(self, error: BaseException | None) -> None:
        if error:
            paint(self.words, value=str(error))
