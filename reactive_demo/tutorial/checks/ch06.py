"""Checks of chapter 06: what a fault did to the two pipelines, asked of the meter."""

from collections.abc import Sequence

from reactive_demo.tools.audit import Report
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until_right
from reactive_demo.tutorial.faults import FaultLab, Outcome
from reactive_demo.tutorial.faults.board import FaultBoard

__all__ = [
    "durable_lost_nothing",
    "keys_were_late",
    "losses",
    "meter_finds",
    "sides_agree",
]


def sides_agree(lab: FaultLab, timeout: float = 5, *, likes: int = 0) -> Verdict:
    """Check that both caches hold what their tables hold, and `likes` or more for each profile."""
    if not lab.pipelines:
        raise CheckFailed("The lab is not started: run the cell with `lab.start()`.")

    def behind() -> str:
        for pipeline in lab.pipelines:
            if late := pipeline.late():
                return (
                    f"The {pipeline.name} side is behind for {', '.join(sorted(late))}; its "
                    f"listener is {pipeline.listener.status_text}. Click Repair, then run this "
                    "cell again."
                )
            if (fewest := pipeline.fewest_likes) < likes:
                return (
                    f"A profile of the {pipeline.name} side has {fewest} likes, and this step "
                    f"makes it {likes}: run its cells, in order."
                )
        return ""

    until_right(behind, timeout)
    return Verdict("both caches hold what their tables hold")


def losses(board: FaultBoard, name: str) -> Verdict:
    """Check that the fault `name` cost the durable way nothing, and the article's what it must."""
    outcome = _last(board, name)
    _kept([outcome])
    lost = outcome.article.lost
    if lost and not outcome.fault.loses:
        raise CheckFailed(
            f"{name}: the article's way lost {lost}, and should not have: what does "
            "`lab.article.listener` say?"
        )
    if not outcome.fault.loses:
        return Verdict("late at most, and nothing is lost on either side")
    if not lost:
        raise CheckFailed(f"{name}: the article's way lost nothing this time: click once more.")
    changes = "1 change" if lost == 1 else f"{lost} changes"
    return Verdict(f"the article's way lost {changes}, the durable way none")


def durable_lost_nothing(board: FaultBoard, name: str = "") -> Verdict:
    """Check that the durable way lost nothing by the fault `name`, or else by all in one go."""
    return _kept([_last(board, name)] if name else board.full_run)


def _kept(outcomes: Sequence[Outcome]) -> Verdict:
    if not outcomes:
        raise CheckFailed("They were not run yet: run the cell above.")
    for outcome in outcomes:
        if outcome.durable.lost or outcome.durable.stale:
            raise CheckFailed(
                f"{outcome.fault.name}: the durable way lost {outcome.durable.lost}, and is behind "
                f"in {outcome.durable.stale}: what does `lab.durable.listener` say?"
            )
    faults = "1 fault" if len(outcomes) == 1 else f"{len(outcomes)} faults"
    return Verdict(f"{faults}, and the durable way lost nothing")


def meter_finds(report: Report, *keys: str) -> Verdict:
    """Check that the meter calls exactly these keys wrong."""
    found = sorted(difference.key for difference in report.wrong)
    if found != sorted(keys):
        wanted = ", ".join(sorted(keys)) or "nothing"
        cure = "spoil the cached row" if keys else "repair it"
        raise CheckFailed(
            f"The meter finds {', '.join(found) or 'nothing'} wrong, and {wanted} should be: "
            f"{cure}, then run this cell again."
        )
    if not keys:
        return Verdict("the meter finds nothing wrong")
    are = "is" if len(keys) == 1 else "are"
    return Verdict(f"the meter says that {', '.join(keys)} {are} wrong, and how")


def keys_were_late(report: Report) -> Verdict:
    """Check that keys differed at first, and none of them is wrong."""
    meter_finds(report)
    if not report.late:
        raise CheckFailed("No key was late: cut the wire and write, before the meter looks.")
    return Verdict(f"{report.late} keys were late, and none is wrong")


def _last(board: FaultBoard, name: str) -> Outcome:
    """Return what the fault did when it was last clicked."""
    for outcome in reversed(board.outcomes):
        if outcome.fault.name == name:
            return outcome
    raise CheckFailed(f"Nobody has clicked {name!r} yet: run the cell above.")
