"""Checks of chapter 12: that something was measured, that it arrived, and how one chooses."""

from collections.abc import Callable

from reactive_demo.tutorial.bench.followers import ARTICLE, DURABLE, PIPELINES
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict
from reactive_demo.tutorial.limits.decision import Decision
from reactive_demo.tutorial.limits.lab import LimitsLab

__all__ = ["all_arrived", "chooses", "queue_holds", "too_long_fails", "was_measured"]

Choose = Callable[[float, int, bool], str | None]


def was_measured(lab: LimitsLab, *names: str) -> Verdict:
    """Check that there are figures of these names, and that none of them is zero."""
    for name in names:
        if name not in lab.pictures:
            raise CheckFailed(f"{name} was not measured yet: run the cell that measures it.")
        for number in range(len(lab.pictures[name].panels)):
            for curve in lab.pictures[name].curves(number).values():
                if not curve.points or any(y <= 0 for _, y in curve.points):
                    raise CheckFailed(
                        f"{name}: {curve.name} has a point without a figure. Make SECONDS greater, "
                        "and measure it again."
                    )
    return Verdict(f"measured: {', '.join(names)}")


def all_arrived(lab: LimitsLab) -> Verdict:
    """Check that after the flood, each pipeline's cache agreed with the table."""
    if missing := [way for way in PIPELINES if way not in lab.wrong]:
        raise CheckFailed(f"Nobody wrote beside {missing[0]}: run the cell that measures writers.")
    for way, wrong in lab.wrong.items():
        if wrong:
            raise CheckFailed(
                f"{wrong} rows of {way} are wrong after the flood: run the cell again, and if it "
                "stays so, `reactive-demo doctor`."
            )
    return Verdict("every pipeline has delivered all its changes")


def too_long_fails(lab: LimitsLab) -> Verdict:
    """Check that the article's way has met its limit, and the others have not."""
    was_measured(lab, "payload")
    largest = {way: one.points[-1][0] for way, one in lab.pictures["payload"].curves().items()}
    for way in DURABLE:
        if largest[way] <= largest[ARTICLE]:
            raise CheckFailed(f"{way} carried no more than {ARTICLE}: measure it again.")
    return Verdict(
        f"the article's way stops after {largest[ARTICLE]:,.0f} bytes, the others do not"
    )


def queue_holds(lab: LimitsLab) -> Verdict:
    """Check that the article's messages piled up, and more than the doorbell's."""
    if "queue" not in lab.pictures:
        raise CheckFailed("The queue was not measured yet: run the cell that measures it.")
    held = {way: one.points[-1][1] for way, one in lab.pictures["queue"].curves().items()}
    for way in DURABLE:
        if held[way] >= held[ARTICLE]:
            raise CheckFailed(f"{way} left as much in the queue as {ARTICLE}: measure it again.")
    return Verdict("the article's messages pile up behind one open transaction, and no others do")


def chooses(choose: Choose | None, decision: Decision) -> Verdict:
    """Check that `choose(writes, size, may_lose)` names the first feed that carries the load."""
    if choose is None:
        raise CheckFailed("There is no `choose` yet: write it in the cell above.")
    for writes in sorted(
        {1.0, *(share * decision[way].writes for way in PIPELINES for share in (0.45, 0.55))}
    ):
        for size in (100, max(decision[way].largest for way in PIPELINES)):
            for may_lose in (True, False):
                wanted, found = (
                    _first(decision, writes, size, may_lose),
                    choose(writes, size, may_lose),
                )
                if found != wanted:
                    loss = "may lose a change" if may_lose else "may lose nothing"
                    raise CheckFailed(
                        f"At {writes:,.0f} writes a second of rows of {size:,} bytes, with a cache "
                        f"that {loss}, it names {found!r}, and {wanted!r} is the first that fits."
                    )
    return Verdict("it names the first feed that carries the load, or none")


def _first(decision: Decision, writes: float, size: int, may_lose: bool) -> str | None:
    for way, one in decision.items():
        if size <= one.largest and 2 * writes <= one.writes and (may_lose or one.catches_up):
            return way
    return None
