"""A button that writes as fast as it can, to see whether the labels keep up."""

import threading
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import Any

import ipywidgets

from reactive_demo.app.profiles import Profiles
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.screen.painter import paint

__all__ = ["BurstButton"]

WRITERS = 4


class BurstButton(ipywidgets.HBox):
    """Fires `count` transactions at one counter, each of a single row, and shows how far it is."""

    def __init__(
        self, profiles: Profiles, username: str, counter: str = "likes", count: int = 1000
    ) -> None:
        self._profiles = profiles
        self._target = (username, counter)
        self.count = count
        self.button = ipywidgets.Button(
            description=f"Burst: {count:,} {counter}",
            tooltip=f"{count:,} transactions, as fast as they go",
            button_style="warning",
        )
        self.progress = ipywidgets.IntProgress(max=count)
        self.words = ipywidgets.Label("ready")
        self.button.on_click(lambda _: self._start())
        super().__init__(
            [self.button, self.progress, self.words],
            _dom_classes=["rd-burst"],
        )
        self._busy = threading.Lock()
        self._done = threading.Event()
        self._failed: Exception | None = None

    def click(self) -> None:
        """Start a burst, as a click does."""
        self.button.click()

    def wait(self, timeout: float = 60) -> None:
        """Wait until the burst has committed its last transaction; raise what went wrong."""
        if not self._done.wait(timeout):
            raise ReactiveDemoError(f"The burst was not done after {timeout:g} s.")
        if self._failed:
            raise self._failed

    def __repr__(self) -> str:
        return f"BurstButton({self.count:,} {self._target[1]})"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options)
        html = f"<button>{escape(self.button.description)}</button>"
        return {**bundle, "text/plain": repr(self), "text/html": html}

    def _start(self) -> None:
        if self._busy.acquire(blocking=False):  # a second click while it runs does nothing
            self._done.clear()
            threading.Thread(target=self._run, name="reactive_demo burst", daemon=True).start()

    def _run(self) -> None:
        self._failed = None
        try:
            with ThreadPoolExecutor(WRITERS) as writers:
                for n, _ in enumerate(writers.map(self._write, range(self.count)), 1):
                    paint(self.progress, value=n)
                    paint(self.words, value=f"{n:,} of {self.count:,} committed")
        except Exception as error:  # noqa: BLE001  (shown, and raised by `wait`)
            self._failed = error
            paint(self.words, value=str(error))
        finally:
            self._busy.release()
            self._done.set()

    def _write(self, _: int) -> None:
        self._profiles.increment(*self._target)
