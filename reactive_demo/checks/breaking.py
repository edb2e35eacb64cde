"""What a fault did to the two pipelines of the fault lab, asked of its meter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactive_demo.checks.verdict import CheckFailed, Verdict, until

if TYPE_CHECKING:  # the lab waits with `until`, and so knows this package
    from collections.abc import Sequence

    from reactive_demo.audit import Report
    from reactive_demo.faults import FaultLab, Outcome

__all__ = ["durable_lost_nothing", "meter_finds", "neither_lost", "one_side_lost", "sides_agree"]


def sides_agree(lab: FaultLab, timeout: float = 5) -> Verdict:
    """Both caches hold what their tables hold."""
    for pipeline in lab.pipelines:
        late = pipeline.late
        try:
            until("", lambda: not late(), timeout)  # noqa: B023  (called before the next turn)
        except CheckFailed:
            raise CheckFailed(
                f"The {pipeline.name} side is behind for {', '.join(sorted(pipeline.late()))}; its "
                f"listener is {pipeline.listener.words}. Click Repair, then run this cell again."
            ) from None
    return Verdict("both caches hold what their tables hold")


def one_side_lost(outcome: Outcome) -> Verdict:
    """The article's way lost something, and the durable way nothing."""
    durable_lost_nothing([outcome])
    if not outcome.article.lost:
        raise CheckFailed(
            f"{outcome.fault.name}: the article's way lost nothing this time: run the cell again."
        )
    changes = "1 change" if outcome.article.lost == 1 else f"{outcome.article.lost} changes"
    return Verdict(f"the article's way lost {changes}, the durable way none")


def neither_lost(outcome: Outcome) -> Verdict:
    """Both pipelines have all there is."""
    durable_lost_nothing([outcome])
    if outcome.article.lost:
        raise CheckFailed(
            f"{outcome.fault.name}: the article's way lost {outcome.article.lost}, and should not "
            "have: what does `lab.article.listener` say?"
        )
    return Verdict("late at most, and nothing is lost on either side")


def durable_lost_nothing(outcomes: Sequence[Outcome]) -> Verdict:
    """The durable way lost nothing, in any of the faults, and is behind in nothing."""
    if not outcomes:
        raise CheckFailed("Nothing was broken yet: run the cell above.")
    for outcome in outcomes:
        if outcome.durable.lost or outcome.durable.stale:
            raise CheckFailed(
                f"{outcome.fault.name}: the durable way lost {outcome.durable.lost}, and is behind "
                f"in {outcome.durable.stale}: what does `lab.durable.listener` say?"
            )
    faults = "1 fault" if len(outcomes) == 1 else f"{len(outcomes)} faults"
    return Verdict(f"{faults}, and the durable way lost nothing")


def meter_finds(report: Report, *keys: str) -> Verdict:
    """The meter calls exactly these keys wrong."""
    found = sorted(difference.key for difference in report.wrong)
    if found != sorted(keys):
        raise CheckFailed(
            f"The meter finds {found or 'nothing'} wrong, and this step is about {sorted(keys)}: "
            "run its cells, in order."
        )
    if not keys:
        return Verdict("the meter finds nothing wrong")
    are = "is" if len(keys) == 1 else "are"
    return Verdict(f"the meter says that {', '.join(keys)} {are} wrong, and how")
