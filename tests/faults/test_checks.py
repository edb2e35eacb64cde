"""The notebook's checks say what is right, or which side is not."""

import pytest

from reactive_demo import checks
from reactive_demo.audit import Difference, Kind, Look, Report
from reactive_demo.checks import CheckFailed
from reactive_demo.faults import FAULTS, FaultLab, Outcome, Score

FAULT = FAULTS[0]


def outcome(article: int, durable: int = 0, stale: int = 0) -> Outcome:
    return Outcome(FAULT, "It was done.", Score(article), Score(durable, stale))


def report(*keys: str) -> Report:
    wrong = [Difference(key, Kind.MISSING, "is gone") for key in keys]
    return Report("t", 3, 3, None, [Look(0, len(keys))], wrong)


def test_what_is_right_is_told() -> None:
    assert repr(checks.one_side_lost(outcome(10))) == (
        "✓ the article's way lost 10 changes, the durable way none"
    )
    assert "lost 1 change," in repr(checks.one_side_lost(outcome(1)))
    assert "nothing is lost on either side" in repr(checks.neither_lost(outcome(0)))
    assert "✓ 2 faults" in repr(checks.durable_lost_nothing([outcome(9), outcome(0)]))
    assert "finds nothing wrong" in repr(checks.meter_finds(report()))
    assert "says that ada is wrong" in repr(checks.meter_finds(report("ada"), "ada"))


def test_what_is_not_right_is_told() -> None:
    with pytest.raises(CheckFailed, match="lost nothing this time"):
        checks.one_side_lost(outcome(0))
    with pytest.raises(CheckFailed, match="the article's way lost 3, and should not"):
        checks.neither_lost(outcome(3))
    for bad in (outcome(1, durable=1), outcome(1, stale=1)):
        with pytest.raises(CheckFailed, match="the durable way lost"):
            checks.one_side_lost(bad)
    with pytest.raises(CheckFailed, match="Nothing was broken yet"):
        checks.durable_lost_nothing([])
    with pytest.raises(CheckFailed, match=r"finds \['bob'\] wrong, and this step is about \[\]"):
        checks.meter_finds(report("bob"))


def test_both_sides_agree_or_one_is_named() -> None:
    with FaultLab() as lab:
        assert "both caches hold" in repr(checks.sides_agree(lab))
        lab.durable.wire.cut()
        lab.write()
        with pytest.raises(CheckFailed, match="The durable side is behind for user 1, user 10,"):
            checks.sides_agree(lab, timeout=0.1)
