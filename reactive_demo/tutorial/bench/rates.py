"""From commit to cache at the same rate of writes for each pipeline, in milliseconds."""

from collections.abc import Callable
from functools import partial

from reactive_demo.tutorial.bench.followers import PEERS, PIPELINES
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.tutorial.bench.probe import beside_writers, percentile
from reactive_demo.tutorial.bench.writes import flood

__all__ = ["AtRate"]


class AtRate:
    """So many writes a second by 8 writers; p99 is the figure, p50 is in the note."""

    UNIT = "ms"
    ROUNDS = (1, 3)

    def __init__(self, rate: int, goal: str) -> None:
        self.WORK = f"commit to cache at {rate:,} writes/s, p99 (less is better)"
        self.GOAL = goal
        self._rate = rate
        self._middle: dict[str, list[float]] = {}

    def pipelines(self, places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
        """Return what is compared; the first is the baseline."""
        seconds = 1 if quick else 8

        def measure(pipeline: str) -> float:
            taken, _ = beside_writers(
                places,
                pipeline,
                lambda: flood(places.database_url, seconds, clients=8, rate=self._rate),
            )
            self._middle.setdefault(pipeline, []).append(percentile(taken, 50))
            return percentile(taken, 99)

        return {name: partial(measure, name) for name in (*PIPELINES, *PEERS)}

    def note(self, pipeline: str, _: float, *, quick: bool) -> str:
        """Return the median."""
        del quick
        middle = sorted(self._middle[pipeline])
        return f"p50 {middle[len(middle) // 2]:.2f} ms"
