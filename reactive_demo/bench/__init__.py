"""The measurements: our pipeline beside the article's and the bare floor, in one run.

A figure of one machine on one day says little. So each is taken in rounds, one pipeline after the
other and again, and told as the ratio to its baseline, with the spread of the rounds.

    places      a database and a part of the cache of the bench's own
    writes      transactions a second of 32 writers, beside none that announces anything
    backlog     changes a second from a backlog, beside a loop that only receives
    latency     from a commit to the cache, with little to do
"""

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from reactive_demo.bench import backlog, latency, writes
from reactive_demo.bench.places import Places
from reactive_demo.stack import Stack

__all__ = ["Figure", "run"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement of one pipeline."""

    work: str
    """What was measured."""
    unit: str
    """Of the values: 1/s, or ms."""
    pipeline: str
    """Which pipeline; the first of a work is the baseline."""
    values: list[float]
    """One of each round."""
    ratio: float
    """The median, divided by the baseline's."""

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        median = statistics.median(self.values)
        return (
            f"{self.pipeline:<44} {self.ratio:6.2f} x"
            f"   {median:12,.2f} {self.unit}  ({low:,.2f} to {high:,.2f})"
        )


def run(stack: Stack, say: Say, *, quick: bool = False, file: Path | None = None) -> list[Figure]:
    """Measure everything, saying each line as it is known; with `file`, keep it as JSON."""
    figures = []
    with Places.make(stack) as places:
        for work in (writes, backlog, latency):
            say(f"\n{work.WORK}")
            for figure in _measure(
                work.WORK, work.UNIT, work.pipelines(places, quick=quick), quick
            ):
                say(f"  {figure}")
                figures.append(figure)
    if file is not None:
        file.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    return figures


def _measure(
    work: str, unit: str, pipelines: dict[str, Callable[[], float]], quick: bool
) -> Iterator[Figure]:
    """Run the pipelines one after the other, and again; what is slow comes in turn for all."""
    rounds = [
        {name: measure() for name, measure in pipelines.items()} for _ in range(2 if quick else 5)
    ]
    values = {name: [one[name] for one in rounds] for name in pipelines}
    baseline = statistics.median(next(iter(values.values())))
    for name, taken in values.items():
        yield Figure(work, unit, name, taken, statistics.median(taken) / baseline)
