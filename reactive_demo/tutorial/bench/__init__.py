"""The benchmark: our pipeline beside the article's and the bare floor, in one run.

A figure from one machine on one day says little. So each work is measured in rounds, one pipeline
after the other, and reported as the ratio to its baseline, with the spread of the rounds. What only
our pipeline can do has no baseline and is reported beside its goal.

    places      a database and caches of the benchmark's own
    followers   a consumer or a listener, in a process of its own
    article     the article's consumer
    debezium    Debezium's embedded engine, where it is installed: a peer
    writes      transactions a second by 32 writers, beside a table without a trigger
    backlog     changes a second from a backlog, beside a loop that only receives
    clustered   the same into a Redis cluster, beside one server
    latency     from commit to cache, under light load
    rates       the same at equal rates of writes, 50th and 99th percentile
    flat_out    the same beside 32 writers flat out
    large       a restart, and filling an empty cache, with a large table
    idle        the cost of a listener when nothing changes
    streams     the profile app under load; a program of its own
    costs       writers' rate and latency of each feed, short, as chapter 08's picture
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from reactive_demo.servers import Stack
from reactive_demo.tutorial.bench import backlog, clustered, idle, latency, writes
from reactive_demo.tutorial.bench.flat_out import FlatOut
from reactive_demo.tutorial.bench.large import Fill, Restart
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.tutorial.bench.rates import AtRate

__all__ = ["Figure", "measure", "run"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement of one pipeline."""

    work: str
    """What was measured."""
    unit: str
    """Of the values."""
    pipeline: str
    """Its name; the first of a work is the baseline."""
    values: list[float]
    """One for each round."""
    ratio: float | None
    """The median divided by the baseline's; None if there is no other pipeline to compare with."""
    goal: str
    """The aim, in words."""
    note: str = ""
    """The same figure, told another way."""

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        median = statistics.median(self.values)
        ratio = " " * 8 if self.ratio is None else f"{self.ratio:6.2f} x"
        note = self.note and f", {self.note}"
        return (
            f"{self.pipeline:<60} {ratio}"
            f"   {median:12,.2f} {self.unit}  ({low:,.2f} to {high:,.2f}){note}"
        )


class Work(Protocol):
    """A module, or a class, that measures one thing."""

    WORK: str
    UNIT: str
    GOAL: str
    ROUNDS: tuple[int, int]
    """How often to measure: in a quick run, and in a full one."""

    def pipelines(self, places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
        """Return what to measure, by name; the first is the baseline."""


def _works(*, quick: bool) -> tuple[Work, ...]:
    """Return what is measured."""
    equal = "p99 at most 2 x the article's by the change table, 1 x by the log"
    at_rates = [AtRate(rate, equal) for rate in ((1_500,) if quick else (500, 1_500, 3_000))]
    return (writes, backlog, clustered, latency, *at_rates, FlatOut(), Restart(), Fill(), idle)


def run(
    stack: Stack, say: Say, *, quick: bool = False, file: Path | None = None, only: str = ""
) -> list[Figure]:
    """Measure everything and `say` each line as it is known; with `file`, write JSON there.

    With `only`, measure the works whose names contain that.
    """
    figures = []
    works = [work for work in _works(quick=quick) if only in work.WORK]
    if quick:
        say("Quick: short rounds, one each, and tables of 20,000 rows for 1,000,000.")
    if not only:
        say(f"This takes about {'a minute' if quick else 'half an hour'} on a machine at rest.")
    with Places.make(stack) as places:
        for number, work in enumerate(works, 1):
            say(f"\n{work.WORK}\n  goal: {work.GOAL}")
            progress = f"work {number} of {len(works)}"
            for figure in measure(work, places, say, progress, quick=quick):
                say(f"  {figure}")
                figures.append(figure)
    if file is not None:
        file.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    return figures


def measure(work: Work, places: Places, say: Say, progress: str, *, quick: bool) -> list[Figure]:
    """Measure the pipelines in turn, round by round, so that a slow moment affects them all."""
    pipelines = work.pipelines(places, quick=quick)
    values: dict[str, list[float]] = {name: [] for name in pipelines}
    rounds = work.ROUNDS[0 if quick else 1]
    for number in range(1, rounds + 1):
        for name, measure in pipelines.items():
            say(f"  ... {progress}, round {number} of {rounds}: {name}")
            values[name].append(measure())
    baseline = statistics.median(next(iter(values.values())))
    note = getattr(work, "note", lambda *_, **__: "")
    return [
        Figure(
            work.WORK,
            work.UNIT,
            name,
            taken,
            statistics.median(taken) / baseline if len(values) > 1 and baseline else None,
            work.GOAL,
            note(name, statistics.median(taken), quick=quick),
        )
        for name, taken in values.items()
    ]
