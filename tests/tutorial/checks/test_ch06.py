"""The notebook's checks say what is right, or which side is not."""

from types import SimpleNamespace
from typing import Any

import pytest

from reactive_demo.tools.audit import Difference, Kind, Look, Report
from reactive_demo.tutorial.checks import CheckFailed
from reactive_demo.tutorial.checks import ch06 as checks
from reactive_demo.tutorial.faults import FAULTS, Fault, FaultLab, Outcome, Score

FAULT = next(fault for fault in FAULTS if fault.loses)
HARMLESS = next(fault for fault in FAULTS if not fault.loses)


def board(*outcomes: Outcome) -> Any:
    """What the checks ask of a board."""
    return SimpleNamespace(outcomes=[*outcomes], full_run=[*outcomes])


def outcome(article: int, durable: int = 0, stale: int = 0, fault: Fault = FAULT) -> Outcome:
    return Outcome(fault, "It was done.", Score(article), Score(durable, stale))


def report(*keys: str, late: int = 0) -> Report:
    wrong = [Difference(key, Kind.MISSING, "is gone") for key in keys]
    return Report("t", 3, 3, None, [Look(0, len(keys) + late)], wrong)


def test_what_is_right_is_told() -> None:
    name = FAULT.name
    assert repr(checks.losses(board(outcome(0), outcome(10)), name)) == (
        "✓ the article's way lost 10 changes, the durable way none"
    )
    assert "lost 1 change," in repr(checks.losses(board(outcome(1)), name))
    assert "nothing is lost on either" in repr(
        checks.losses(board(outcome(0, fault=HARMLESS)), HARMLESS.name)
    )
    assert "✓ 2 faults" in repr(checks.durable_lost_nothing(board(outcome(9), outcome(0))))
    assert "✓ 1 fault," in repr(checks.durable_lost_nothing(board(outcome(9)), name))
    assert "finds nothing wrong" in repr(checks.meter_finds(report()))
    assert "says that ada is wrong" in repr(checks.meter_finds(report("ada"), "ada"))
    assert "3 keys were late" in repr(checks.keys_were_late(report(late=3)))


def test_what_is_not_right_is_told() -> None:
    name = FAULT.name
    with pytest.raises(CheckFailed, match="lost nothing this time"):
        checks.losses(board(outcome(0)), name)
    with pytest.raises(CheckFailed, match="the article's way lost 3, and should not"):
        checks.losses(board(outcome(3, fault=HARMLESS)), HARMLESS.name)
    for bad in (outcome(1, durable=1), outcome(1, stale=1)):
        with pytest.raises(CheckFailed, match="the durable way lost"):
            checks.losses(board(bad), name)
    with pytest.raises(CheckFailed, match="Nobody has clicked 'Burst' yet"):
        checks.losses(board(outcome(1)), "Burst")
    with pytest.raises(CheckFailed, match="They were not run yet"):
        checks.durable_lost_nothing(board())
    with pytest.raises(CheckFailed, match="finds bob wrong, and nothing should be: repair it"):
        checks.meter_finds(report("bob"))
    with pytest.raises(CheckFailed, match="finds nothing wrong, and ada should be: spoil the"):
        checks.meter_finds(report(), "ada")
    with pytest.raises(CheckFailed, match="No key was late"):
        checks.keys_were_late(report())


def test_both_sides_agree_or_one_is_named() -> None:
    lab = FaultLab()
    with pytest.raises(CheckFailed, match="The lab is not started"):
        checks.sides_agree(lab)
    with lab:
        assert "both caches hold" in repr(checks.sides_agree(lab))
        with pytest.raises(CheckFailed, match="has 0 likes, and this step makes it 1"):
            checks.sides_agree(lab, likes=1)
        lab.durable.wire.cut()
        lab.write()
        with pytest.raises(CheckFailed, match="The durable side is behind for user 1, user 10,"):
            checks.sides_agree(lab, timeout=0.1)
