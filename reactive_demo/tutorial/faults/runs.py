"""Break a lab, wait until it is quiet again, and report what is lost."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.tutorial.faults.actions import FAULTS, Fault
from reactive_demo.tutorial.faults.lab import FaultLab
from reactive_demo.tutorial.faults.score import Score

__all__ = ["Outcome", "break_it", "fault_named", "in_words", "run_all", "table"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault did to the two pipelines; the scores count this fault alone."""

    fault: Fault
    did: str
    """What was done, in a sentence."""
    article: Score
    durable: Score


def fault_named(name: str) -> Fault:
    """Return the fault of that name; raise ReactiveDemoError if there is none."""
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise ReactiveDemoError(
        f"There is no fault {name!r}: use one of {', '.join(f.name for f in FAULTS)}."
    )


def break_it(lab: FaultLab, fault: Fault | str) -> Outcome:
    """Repair both caches, do the harm, wait until it is quiet again, and return the outcome.

    Raises ReactiveDemoError while another fault is under way, or if the fault would harm servers
    that are not the lab's.
    """
    fault = fault_named(fault) if isinstance(fault, str) else fault
    if not lab.busy.acquire(blocking=False):
        raise ReactiveDemoError("One thing at a time: wait until the present fault is done.")
    try:
        before = []
        for pipeline in lab.pipelines:
            pipeline.repair()
            pipeline.look()
            before.append((pipeline.lost + pipeline.refused, pipeline.staleness.worst))
            pipeline.staleness.worst = 0.0
        did = fault.act(lab)
        scores = []
        for pipeline, (lost, worst) in zip(lab.pipelines, before, strict=True):
            pipeline.lost += pipeline.await_quiescence()
            score = pipeline.look()
            scores.append(Score(score.lost - lost, score.stale, score.worst))
            pipeline.staleness.worst = max(pipeline.staleness.worst, worst)
        return Outcome(fault, did, *scores)
    finally:
        lab.busy.release()


def run_all(
    lab: FaultLab,
    faults: Sequence[Fault] = FAULTS,
    progress: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Run the faults one after the other; return their outcomes."""
    outcomes = []
    for fault in faults:
        outcomes.append(break_it(lab, fault))
        progress(outcomes[-1])
    return outcomes


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as a table in plain text."""
    lines = [("fault", "article", "durable")]
    lines += [(o.fault.name, in_words(o.article), in_words(o.durable)) for o in outcomes]
    widths = [max(len(line[n]) for line in lines) for n in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def in_words(score: Score) -> str:
    """Tell the score of one fault: what is lost, or how late changes were at worst."""
    if score.lost:
        return f"lost {score.lost}"
    if score.worst < LATE:
        return "lost 0"
    return f"lost 0, late {score.worst:.1f} s"


LATE = 0.1
"""Seconds: anything shorter nobody would call late."""
