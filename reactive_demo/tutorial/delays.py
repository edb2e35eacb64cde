"""How long a reader's own writes took to reach the cache, as a picture and in words."""

import base64
import io
import logging
from collections.abc import Iterable
from statistics import quantiles

from reactive_demo.tutorial.widgets.style import COLOURS, PLOT

__all__ = ["Delays"]

# The first import builds a list of fonts, and says so where only a warning belongs.
logging.getLogger("matplotlib").setLevel(logging.ERROR)


class Delays:
    """Delays in seconds, two or more, from the shortest to the longest."""

    def __init__(self, seconds: Iterable[float]) -> None:
        self.milliseconds = sorted(1000 * one for one in seconds)

    def percentile(self, percent: int) -> float:
        """Return the milliseconds that `percent` of 100 delays do not exceed."""
        return quantiles(self.milliseconds, n=100, method="inclusive")[percent - 1]

    def png(self) -> bytes:
        """Draw the picture, without a background, for light and dark themes alike."""
        from matplotlib import rc_context  # noqa: PLC0415  (it takes a second)
        from matplotlib.figure import Figure  # noqa: PLC0415

        png = io.BytesIO()
        count = len(self.milliseconds)
        with rc_context(PLOT):
            picture = Figure(figsize=(8, 3), dpi=120, layout="constrained")
            axes = picture.subplots()
            shares = [100 * number / count for number in range(1, count + 1)]
            axes.plot(self.milliseconds, shares, color=COLOURS["blue"], linewidth=2)
            for percent in (50, 99):
                place = self.percentile(percent)
                axes.plot([place], [percent], "o", color=COLOURS["orange"])
                axes.annotate(
                    f"{percent} % within {place:.1f} ms",
                    (place, percent),
                    xytext=(10, -14),
                    textcoords="offset points",
                )
            axes.set_title("From commit to cache")
            axes.set_xlabel("ms, on a logarithmic scale")
            axes.set_ylabel("% of the writes")
            axes.set_xscale("log")
            axes.set_xlim(right=5 * self.milliseconds[-1])
            axes.xaxis.set_major_formatter("{x:g}")
            picture.savefig(png, format="png")
        return png.getvalue()

    def __repr__(self) -> str:
        middle, most = self.percentile(50), self.percentile(99)
        count = len(self.milliseconds)
        return f"{count} writes: half within {middle:.1f} ms, 99 % within {most:.1f} ms"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/png": base64.b64encode(self.png()).decode(), "text/plain": repr(self)}
