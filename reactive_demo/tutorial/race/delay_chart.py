"""A slider that makes the network slow, and a picture of what each strategy's writer waits for."""

import base64
import threading
from html import escape
from typing import Any

import ipywidgets

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.screen.painter import paint
from reactive_demo.tutorial.race.plot import Plot
from reactive_demo.tutorial.race.race import Race
from reactive_demo.tutorial.widgets.style import styled

__all__ = ["DelayChart"]

DELAYS = (0, 1, 5, 20)
"""Milliseconds: one machine, one data centre, two of a city, two of a continent."""


class DelayChart(ipywidgets.VBox):
    """Runs the race whenever the slider is moved, and draws all that was measured."""

    def __init__(self, race: Race) -> None:
        self.race = race
        self.slider = ipywidgets.SelectionSlider(
            options=[(f"{delay} ms", delay) for delay in DELAYS],
            description="Network delay",
            style={"description_width": "initial"},
            continuous_update=False,
        )
        self.button = ipywidgets.Button(description="Measure again")
        self.words = ipywidgets.Label("move the slider")
        self.picture = ipywidgets.HTML()
        self.slider.observe(lambda _: self.measure(), "value")
        self.button.on_click(lambda _: self.measure())
        controls = ipywidgets.HBox(
            [self.slider, self.button, self.words], _dom_classes=["rd-controls"]
        )
        super().__init__([styled(""), controls, self.picture], _dom_classes=["rd-delay"])
        self._changed = threading.Condition()
        self._wanted: int | None = None
        self._thread: threading.Thread | None = None
        self._failed: Exception | None = None

    def move(self, delay: int) -> None:
        """Move the slider to `delay` milliseconds, as a hand does, and wait for the figures."""
        if self.slider.value == delay:
            self.measure()
        self.slider.value = delay
        self.wait()

    def measure(self) -> None:
        """Start to measure with the delay that the slider shows now."""
        with self._changed:
            self._wanted = self.slider.value
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="reactive_demo race", daemon=True
                )
                self._thread.start()

    def wait(self, timeout: float = 60) -> None:
        """Wait until all that was asked for is measured; raise what went wrong."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._thread is None, timeout):
                raise ReactiveDemoError(f"The race was not over after {timeout:g} s.")
        if self._failed:
            raise self._failed

    def __repr__(self) -> str:
        return "DelayChart(0, 1, 5 or 20 ms)"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options)
        steps = "".join(f"<td>{delay} ms</td>" for delay in DELAYS)
        html = f"<table><tr><th>Network delay</th>{steps}</tr></table>"
        return {**bundle, "text/plain": repr(self), "text/html": html}

    def _run(self) -> None:
        while (delay := self._next()) is not None:
            paint(self.words, value=f"measuring with {delay} ms …")
            try:
                self.race.run(delay)
                plot = Plot(self.race.figures)
                picture = base64.b64encode(plot.png()).decode()
                html = f'<img alt="{escape(str(plot))}" src="data:image/png;base64,{picture}">'
                paint(self.picture, value=html)
                paint(self.words, value=f"measured with {delay} ms")
            except Exception as error:  # noqa: BLE001  (shown, and raised by `wait`)
                self._failed = error
                paint(self.words, value=str(error))

    def _next(self) -> int | None:
        """The delay that is wanted; with none, this thread ends."""
        with self._changed:
            delay, self._wanted = self._wanted, None
            if delay is None:
                self._thread = None
                self._changed.notify_all()
            else:
                self._failed = None
            return delay
