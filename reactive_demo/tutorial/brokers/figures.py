"""Latency, messages a second, and what the writer waits for: measured, and drawn."""

import base64
import io
import logging
import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from reactive_demo.tutorial.brokers.broker import Broker
from reactive_demo.tutorial.brokers.lab import BrokerLab

__all__ = ["Figures", "Measured", "measure"]

# The first import builds a list of fonts, and says so where only a warning belongs.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

PAPER, INK, BAR = "#f7f9fa", "#1b2529", "#1565c0"

BODY = '{"username": "ada", "followings_count": 7, "followers_count": 12, "likes_count": 345}'


class Measured(NamedTuple):
    """The figures of one broker."""

    name: str
    wait: float
    """Seconds that `publish` takes, in the middle: until the broker has the message."""
    latency: float
    """Seconds from the call of `publish` to the reader, in the middle."""
    rate: float
    """Messages a second, of one writer that waits for each, read and acknowledged."""


class Figures:
    """The figures of all brokers, as a picture and in words."""

    def __init__(self, measured: Sequence[Measured]) -> None:
        self.measured = measured

    def png(self) -> bytes:
        """Draw the picture."""
        from matplotlib.figure import Figure  # noqa: PLC0415  (it takes a second)

        picture = Figure(figsize=(9, 2.8), dpi=120, facecolor=PAPER, layout="constrained")
        panels = picture.subplots(1, 3, sharey=True)
        names = [one.name for one in reversed(self.measured)]
        for axes, title, values in zip(panels, TITLES, self._columns(), strict=True):
            bars = axes.barh(names, values[::-1], color=BAR, height=0.6)
            axes.bar_label(bars, [_shown(value) for value in values[::-1]], padding=3, color=INK)
            axes.set_title(title, color=INK, fontsize=10)
            axes.set_xscale("log")
            axes.set_xlim(min(values) / 3, max(values) * 6)
            axes.set_facecolor(PAPER)
            axes.tick_params(colors=INK, length=0, which="both", labelbottom=False)
            axes.spines[:].set_visible(False)
        png = io.BytesIO()
        picture.savefig(png, format="png", facecolor=PAPER)
        return png.getvalue()

    def __str__(self) -> str:
        """Tell the picture in words."""
        return "\n".join(
            f"{one.name:<14} the writer waits {1000 * one.wait:.2f} ms; "
            f"{1000 * one.latency:.2f} ms to the reader; {one.rate:,.0f} messages a second"
            for one in self.measured
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/png": base64.b64encode(self.png()).decode(), "text/plain": str(self)}

    def _columns(self) -> list[list[float]]:
        return [
            [1000 * one.wait for one in self.measured],
            [1000 * one.latency for one in self.measured],
            [one.rate for one in self.measured],
        ]


TITLES = ("the writer waits (ms)", "to the reader (ms)", "messages a second")
"""Each axis is logarithmic."""


def _shown(value: float) -> str:
    """Return a figure with the digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"  # noqa: PLR2004


def measure(lab: BrokerLab, messages: int = 200) -> Figures:
    """Measure each broker of the lab, one after the other, in a second or two each."""
    return Figures([_measured(one, lab.new_topic(), messages) for one in lab.brokers.values()])


def _measured(broker: Broker, topic: str, messages: int) -> Measured:
    waits, latencies = [], []
    with broker.subscribe(topic) as reader:
        for _ in range(messages // 4):
            began = time.perf_counter()
            broker.publish(topic, BODY)
            waits.append(time.perf_counter() - began)
            reader.read(5)
            latencies.append(time.perf_counter() - began)
            reader.acknowledge()
        began = time.perf_counter()
        for _ in range(messages):
            broker.publish(topic, BODY)
        for _ in range(messages):
            reader.read(5)
            reader.acknowledge()
        rate = messages / (time.perf_counter() - began)
    return Measured(broker.name, median(waits), median(latencies), rate)
