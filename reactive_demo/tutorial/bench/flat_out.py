"""From commit to cache beside 32 writers flat out, in milliseconds: the 99th percentile."""

from collections.abc import Callable
from functools import partial

from reactive_demo.tutorial.bench.followers import PEERS, PIPELINES
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.tutorial.bench.probe import beside_writers, percentile
from reactive_demo.tutorial.bench.writes import flood

__all__ = ["FlatOut"]


class FlatOut:
    """The writers write as fast as the pipeline lets them, each at another rate: see the note."""

    WORK = "commit to cache, 32 writers flat out, p99 (less is better)"
    UNIT = "ms"
    GOAL = "below 25 ms: the change table at 2.2 times the article's writes, the log at 3.5 times"
    ROUNDS = (1, 5)

    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = {}

    def pipelines(self, places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
        """Return what is compared; the first is the baseline."""
        seconds = 1 if quick else 8

        def measure(pipeline: str) -> float:
            taken, rate = beside_writers(
                places, pipeline, lambda: flood(places.database_url, seconds)
            )
            self._rates.setdefault(pipeline, []).append(rate)
            return percentile(taken, 99)

        return {name: partial(measure, name) for name in (*PIPELINES, *PEERS)}

    def note(self, pipeline: str, _: float, *, quick: bool) -> str:
        """Return at what rate."""
        del quick
        rates = sorted(self._rates[pipeline])
        return f"at {rates[len(rates) // 2]:,.0f} writes/s"
