"""A slider that slows the network down, and bars: how long each strategy's writer waits."""

import math
from collections.abc import Mapping
from functools import partial
from html import escape

import ipywidgets

from reactive_demo.screen.painter import paint
from reactive_demo.tutorial.race.looks import LOOKS, milliseconds
from reactive_demo.tutorial.race.race import Measured, Race
from reactive_demo.tutorial.widgets.background import Background
from reactive_demo.tutorial.widgets.fallback import StillPicture
from reactive_demo.tutorial.widgets.still import box, picture, text
from reactive_demo.tutorial.widgets.style import styled

__all__ = ["DelayChart"]

DELAYS = (0.0, 0.001, 0.005, 0.020)
"""Seconds: within a machine, a data centre, a region, a continent."""

LIMIT, TICKS = 50, 5
"""Milliseconds on the axis at least, the same for every delay so that bars compare; its parts."""


class DelayChart(StillPicture, ipywidgets.VBox):
    """Runs the race whenever the slider moves, and shows the figures of the delay it stands at."""

    def __init__(self, race: Race) -> None:
        self.race = race
        self.slider = ipywidgets.SelectionSlider(
            options=[(milliseconds(delay), delay) for delay in DELAYS],
            description="Network delay",
            style={"description_width": "initial"},
            continuous_update=False,
        )
        self.button = ipywidgets.Button(description="Measure again")
        self.words = ipywidgets.Label("not measured yet: move the slider")
        self.bars = ipywidgets.HTML(self._bars(DELAYS[0], measuring=False))
        self._background = Background("race", self._show_error)
        self.slider.observe(lambda _: self.measure(), "value")
        self.button.on_click(lambda _: self.measure())
        controls = ipywidgets.HBox(
            [self.slider, self.button, self.words], _dom_classes=["rd-controls"]
        )
        super().__init__([styled(""), controls, self.bars], _dom_classes=["rd-delay"])

    def move(self, delay: float) -> None:
        """Move the slider to `delay` seconds, one of `DELAYS`, and wait for the figures."""
        if self.slider.value == delay:
            self.measure()
        self.slider.value = delay
        self.wait()

    def measure(self) -> None:
        """Start to measure with the delay that the slider shows."""
        delay = self.slider.value
        self._show(delay, measuring=True)
        self._background.queue(partial(self._run, delay))

    def wait(self, timeout: float = 60) -> None:
        """Wait until the last delay asked for is measured; raise what went wrong."""
        self._background.wait(timeout)

    def __repr__(self) -> str:
        return "DelayChart(0, 1, 5 or 20 ms)"

    def to_svg(self) -> str:
        """Return the bars as they are now as a picture, for readers without a kernel."""
        delay = self.slider.value
        waits = self._waits(delay)
        limit = _limit(waits)
        parts = [text(0, 20, _title(delay), size=14, bold=True, anchor="start")]
        for n, (name, (colour, *_)) in enumerate(LOOKS.items()):
            y = 48 + 28 * n
            width = 340 * waits.get(name, 0) / limit
            parts += [
                text(0, y, name, anchor="start"),
                box(220, y - 14, max(1, width), 18, fill=colour, stroke="none", radius=4),
                text(228 + width, y, _in_words(waits.get(name)), bold=True, anchor="start"),
            ]
        return picture(660, 180, self._told(delay), *parts)

    # What it shows

    def _run(self, delay: float) -> None:
        self.race.run(delay)
        if self.slider.value == delay:
            self._show(delay, measuring=False)

    def _show(self, delay: float, *, measuring: bool) -> None:
        state = "measuring" if measuring else "measured"
        paint(self.bars, value=self._bars(delay, measuring=measuring))
        paint(self.words, value=f"{state} with {milliseconds(delay)}{' …' if measuring else ''}")

    def _figures(self, delay: float) -> dict[str, Measured]:
        return {one.strategy: one for one in self.race.figures if one.delay == delay}

    def _waits(self, delay: float) -> dict[str, float]:
        """Return how long each writer waits, in milliseconds."""
        return {name: 1000 * one.waited for name, one in self._figures(delay).items()}

    def _bars(self, delay: float, *, measuring: bool) -> str:
        """Return the bars; while the race is run, those of the last time are pale."""
        waits = self._waits(delay)
        limit = _limit(waits)
        bars = "".join(
            f'<div class="rd-bar"><span>{name}</span><div><i style="width: '
            f'{100 * waits.get(name, 0) / limit:.1f}%; background: {colour}"></i>'
            f"<b>{_in_words(waits.get(name))}</b></div></div>"
            for name, (colour, *_) in LOOKS.items()
        )
        ticks = "".join(f"<span>{limit * n // TICKS}</span>" for n in range(TICKS + 1))
        return (
            f'<figure class="rd-bars{" rd-bars-old" if measuring else ""}" role="img" '
            f'aria-label="{escape(self._told(delay))}"><figcaption>{_title(delay)}</figcaption>'
            f'{bars}<div class="rd-bar-axis">{ticks}</div>'
            '<div class="rd-bar-unit">milliseconds until the write returns</div></figure>'
        )

    def _told(self, delay: float) -> str:
        """Tell the bars in words."""
        waits = self._waits(delay)
        each = "; ".join(f"{name}: {_in_words(waits.get(name))}" for name in LOOKS)
        return f"{_title(delay)}. {each}."

    def _show_error(self, error: BaseException | None) -> None:
        if error:
            paint(self.words, value=str(error))


def _title(delay: float) -> str:
    return f"How long the writer waits, with a network delay of {milliseconds(delay)}"


def _in_words(wait: float | None) -> str:
    return "not measured yet" if wait is None else f"{wait:.1f} ms"


def _limit(waits: Mapping[str, float]) -> int:
    """Return where the axis ends, in milliseconds."""
    return max(LIMIT, LIMIT * math.ceil(max(waits.values(), default=0) / LIMIT))
