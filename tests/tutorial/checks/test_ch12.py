"""The checks of the chapter on limits: each fails in words, and passes when its step was done."""

from types import SimpleNamespace
from typing import Any

import pytest

from reactive_demo import ReactiveDemoError
from reactive_demo.tutorial.checks import CheckFailed
from reactive_demo.tutorial.checks import ch12 as checks
from reactive_demo.tutorial.limits import Curve, Decision, Panel, Picture, decide

ARTICLE, CHANGE_TABLE, LOG = "the article's", "the change table", "the log"


@pytest.fixture
def lab() -> Any:
    """A lab in which nothing was measured yet."""
    return SimpleNamespace(pictures={}, wrong={})


def picture(*panels: dict[str, list[tuple[float, float]]]) -> Picture:
    """The picture of these points."""
    return Picture(
        *(
            Panel(
                "A title",
                "x",
                "y",
                [Curve(*one, tails=[9.0] * len(one[1])) for one in panel.items()],
            )
            for panel in panels
        )
    )


def each(*ys: float) -> dict[str, list[tuple[float, float]]]:
    """One point for each of the ways."""
    return {
        way: [(10, y), (100, y)] for way, y in zip((ARTICLE, CHANGE_TABLE, LOG), ys, strict=True)
    }


@pytest.fixture
def measured(lab: Any) -> Any:
    """A lab in which all was measured."""
    lab.pictures = {
        "writers": picture(each(200, 600, 1000), each(0.2, 0.6, 1)),
        "latency": picture(each(1, 3, 2)),
        "backlog": picture(each(5, 5, 5), each(50, 500, 400)),
        "payload": picture(
            {ARTICLE: [(100, 1)], CHANGE_TABLE: [(9_000, 1)], LOG: [(9_000, 2)]},
        ),
        "queue": picture(each(80, 1, 0)),
    }
    return lab


def test_a_figure_must_be_there_and_not_be_zero(lab: Any) -> None:
    with pytest.raises(CheckFailed, match="writers was not measured yet"):
        checks.was_measured(lab, "writers")
    lab.pictures["writers"] = picture(each(1, 2, 3), each(1, 0, 3))
    with pytest.raises(CheckFailed, match="writers: the change table has a point without"):
        checks.was_measured(lab, "writers")
    lab.pictures["writers"] = picture(each(1, 2, 3))
    assert "measured: writers" in repr(checks.was_measured(lab, "writers"))


def test_each_pipeline_must_have_delivered(lab: Any) -> None:
    lab.wrong = {ARTICLE: 0, CHANGE_TABLE: 0}
    with pytest.raises(CheckFailed, match="Nobody wrote beside the log"):
        checks.all_arrived(lab)
    lab.wrong[LOG] = 3
    with pytest.raises(CheckFailed, match="3 rows of the log are wrong"):
        checks.all_arrived(lab)
    lab.wrong[LOG] = 0
    assert checks.all_arrived(lab)


def test_the_articles_way_stops_first(measured: Any) -> None:
    assert "after 100 bytes" in repr(checks.too_long_fails(measured))
    measured.pictures["payload"] = picture(each(1, 1, 1))
    with pytest.raises(CheckFailed, match="the change table carried no more"):
        checks.too_long_fails(measured)


def test_only_the_articles_messages_pile_up(lab: Any, measured: Any) -> None:
    assert checks.queue_holds(measured)
    measured.pictures["queue"] = picture(each(80, 80, 0))
    with pytest.raises(CheckFailed, match="the change table left as much"):
        checks.queue_holds(measured)
    del lab.pictures["queue"]
    with pytest.raises(CheckFailed, match="queue was not measured yet"):
        checks.queue_holds(lab)


def test_a_decision_needs_all_figures_and_shows_them(measured: Any) -> None:
    text = repr(decide(measured))
    assert "lost  500 changes/s  400 changes/s" in text
    assert "9,000 bytes" in text
    html = decide(measured)._repr_html_()
    assert '<th align="left" style="text-align: left">after an absence</th>' in html
    assert 'white-space: nowrap">500 changes/s</td>' in html
    del measured.pictures["queue"]
    with pytest.raises(ReactiveDemoError, match="Not measured yet: queue"):
        decide(measured)


def test_a_choice_is_tried_on_loads_sizes_and_losses(measured: Any) -> None:
    decision = decide(measured)

    def rule(writes: float, size: int, may_lose: bool, *, room: int = 2) -> str | None:
        for name, limits in decision.items():
            keeps = may_lose or limits.catches_up
            if keeps and size <= limits.largest and room * writes <= limits.writes:
                return name
        return None

    assert checks.chooses(rule, decision)
    for wrong, words in (
        (None, "no `choose` yet"),
        (lambda *_: CHANGE_TABLE, "may lose a change, it names 'the change table'"),
        (lambda *load: rule(*load[:2], True), 'may lose nothing, it names "the article\'s"'),
        (lambda *load: rule(load[0], 1, load[2]), "rows of 9,000 bytes"),
        (lambda *load: rule(*load, room=1), "is the first that fits"),
    ):
        with pytest.raises(CheckFailed, match=words):
            checks.chooses(wrong, decision)


def test_a_picture_is_drawn_and_told_in_words(measured: Any) -> None:
    for one in measured.pictures.values():
        assert one.png().startswith(b"\x89PNG")
    assert "the log, 10: 1,000; 100: 1,000 (95 % below 9, 9)" in str(measured.pictures["writers"])
    theirs = Curve("Somebody (theirs)", [(1, 2)], theirs=True)
    assert Picture(Panel("A title", "x", "y", [theirs])).curves() == {}
    assert isinstance(decide(measured), Decision)
