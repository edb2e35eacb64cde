"""A slider that slows the network down, and a picture of how long each strategy's writer waits."""

import base64
from functools import partial
from html import escape

import ipywidgets

from reactive_demo.screen.painter import paint
from reactive_demo.tutorial.race.plot import Plot, milliseconds
from reactive_demo.tutorial.race.race import Race
from reactive_demo.tutorial.widgets.background import Background
from reactive_demo.tutorial.widgets.fallback import HtmlFallback
from reactive_demo.tutorial.widgets.style import styled

__all__ = ["DelayChart"]

DELAYS = (0.0, 0.001, 0.005, 0.020)
"""Seconds: within a machine, a data centre, a region, a continent."""


class DelayChart(HtmlFallback, ipywidgets.VBox):
    """Runs the race whenever the slider moves, and draws everything measured so far."""

    def __init__(self, race: Race) -> None:
        self.race = race
        self.slider = ipywidgets.SelectionSlider(
            options=[(milliseconds(delay), delay) for delay in DELAYS],
            description="Network delay",
            style={"description_width": "initial"},
            continuous_update=False,
        )
        self.button = ipywidgets.Button(description="Measure again")
        self.words = ipywidgets.Label("move the slider")
        self.picture = ipywidgets.HTML()
        self._background = Background("race", self._show_error)
        self.slider.observe(lambda _: self.measure(), "value")
        self.button.on_click(lambda _: self.measure())
        controls = ipywidgets.HBox(
            [self.slider, self.button, self.words], _dom_classes=["rd-controls"]
        )
        super().__init__([styled(""), controls, self.picture], _dom_classes=["rd-delay"])

    def move(self, delay: float) -> None:
        """Move the slider to `delay` seconds, one of `DELAYS`, and wait for the figures."""
        if self.slider.value == delay:
            self.measure()
        self.slider.value = delay
        self.wait()

    def measure(self) -> None:
        """Start to measure with the delay that the slider shows."""
        self._background.queue(partial(self._run, self.slider.value))

    def wait(self, timeout: float = 60) -> None:
        """Wait until the last delay asked for is measured; raise what went wrong."""
        self._background.wait(timeout)

    def __repr__(self) -> str:
        return "DelayChart(0, 1, 5 or 20 ms)"

    def to_html(self) -> str:
        """Return the steps of the slider as plain HTML, for readers without a kernel."""
        steps = "".join(f"<td>{milliseconds(delay)}</td>" for delay in DELAYS)
        return f"<table><tr><th>Network delay</th>{steps}</tr></table>"

    def _run(self, delay: float) -> None:
        paint(self.words, value=f"measuring with {milliseconds(delay)} …")
        self.race.run(delay)
        plot = Plot(self.race.figures)
        picture = base64.b64encode(plot.png()).decode()
        html = f'<img alt="{escape(str(plot))}" src="data:image/png;base64,{picture}">'
        paint(self.picture, value=html)
        paint(self.words, value=f"measured with {milliseconds(delay)}")

    def _show_error(self, error: BaseException | None) -> None:
        if error:
            paint(self.words, value=str(error))
