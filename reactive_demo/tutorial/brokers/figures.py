"""Latency, messages a second, and what the writer waits for: measured, and drawn."""

import base64
import io
import logging
import time
from collections.abc import Sequence
from statistics import median, quantiles
from typing import NamedTuple

from reactive_demo.tutorial.brokers.broker import Broker
from reactive_demo.tutorial.brokers.lab import BrokerLab
from reactive_demo.tutorial.widgets.style import COLOURS, PLOT

__all__ = ["Figures", "Measured", "measure"]

# The first import builds a list of fonts, and says so where only a warning belongs.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

BODY = '{"username": "ada", "followings_count": 7, "followers_count": 12, "likes_count": 345}'


class Measured(NamedTuple):
    """The figures of one broker."""

    name: str
    wait: float
    """Seconds that `publish` takes, in the middle: until the broker has the message."""
    latency: float
    """Seconds from the call of `publish` to the reader, in the middle."""
    slow: float
    """The same for the slowest of a hundred."""
    rate: float
    """Messages a second, of one writer that waits for each, read and acknowledged."""


class Figures:
    """The figures of all brokers, as a picture and in words."""

    def __init__(self, measured: Sequence[Measured]) -> None:
        self.measured = measured

    def png(self) -> bytes:
        """Draw the picture."""
        from matplotlib import rc_context  # noqa: PLC0415  (it takes a second)
        from matplotlib.figure import Figure  # noqa: PLC0415

        png = io.BytesIO()
        with rc_context(PLOT):
            picture = Figure(figsize=(9, 2.9), dpi=120, layout="constrained")
            panels = picture.subplots(1, 3, sharey=True)
            names = [one.name for one in reversed(self.measured)]
            for axes, title, values in zip(panels, TITLES, self._columns(), strict=True):
                # Points, not bars: on a logarithmic axis, a bar's length says nothing.
                axes.plot(values[::-1], names, "o", color=COLOURS["blue"])
                for name, value in zip(names, values[::-1], strict=True):
                    place = {"xytext": (5, 3), "textcoords": "offset points", "va": "bottom"}
                    axes.annotate(_shown(value), (value, name), **place)
                axes.set_title(title, fontsize=10)
                axes.set_xscale("log")
                axes.set_xlim(min(values) / 3, max(values) * 8)
                axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
                axes.margins(y=0.15)
                axes.tick_params(length=0, which="both")
            # A line to the slowest of a hundred.
            slow = [1000 * one.slow for one in reversed(self.measured)]
            latencies, axes = self._columns()[1], panels[1]
            axes.hlines(names, latencies[::-1], slow, color=COLOURS["blue"])
            axes.plot(slow, names, "|", color=COLOURS["blue"])
            axes.set_xlim(min(latencies) / 3, max(*slow, *latencies) * 4)
            picture.savefig(png, format="png")
        return png.getvalue()

    def __str__(self) -> str:
        """Tell the picture in words."""
        return "\n".join(
            f"{one.name:<14} the writer waits {1000 * one.wait:.2f} ms; "
            f"{1000 * one.latency:.2f} ms to the reader (p99 {1000 * one.slow:.2f}); "
            f"{one.rate:,.0f} messages a second"
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


TITLES = ("the writer waits (ms)", "to the reader (ms), and p99", "messages a second")
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
        for _ in range(messages):
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
    slow = quantiles(latencies, n=100)[-1]
    return Measured(broker.name, median(waits), median(latencies), slow, rate)
