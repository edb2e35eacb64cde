"""The painter: a burst becomes a handful of frames, and the last value is always seen."""

import threading
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from reactive_demo.screen.painter import Painter
from tools.waiting import until


class Canvas:
    """A setter that remembers what it was asked to set, when, and in which thread."""

    def __init__(self) -> None:
        self.painted: list[tuple[float, Any, str, Any]] = []
        self.threads: set[str] = set()

    def __call__(self, widget: Any, name: str, value: Any) -> None:
        self.painted.append((time.monotonic(), widget, name, value))
        self.threads.add(threading.current_thread().name)

    def values(self, widget: Any, name: str = "value") -> list[Any]:
        return [value for _, w, n, value in self.painted if (w, n) == (widget, name)]


@pytest.fixture
def canvas() -> Canvas:
    return Canvas()


def test_of_many_values_the_first_is_painted_at_once_and_the_others_wait(canvas: Canvas) -> None:
    painter = Painter(frame=3600, setter=canvas)
    painter.paint("label", value=0)
    until("the first is painted", lambda: canvas.values("label") == [0])
    for n in range(1, 1_000):
        painter.paint("label", value=n)
    painter.paint("other", value="painted after all of these")
    until("the other is painted", lambda: canvas.values("other"))
    assert canvas.values("label") == [0]


def test_a_burst_is_painted_while_it_lasts_once_a_frame_and_its_end_is_seen(canvas: Canvas) -> None:
    painter = Painter(frame=0.05, setter=canvas)
    last = 0
    while len(canvas.painted) < 4:
        last += 1
        painter.paint("label", value=last)
    until("the last value is painted", lambda: last in canvas.values("label"))
    painted = canvas.values("label")
    assert painted == sorted(painted)
    assert painted[-1] == last
    times = [moment for moment, *_ in canvas.painted]
    assert all(after - before >= 0.05 for before, after in pairwise(times)), "one in a frame"


def test_attributes_and_widgets_do_not_replace_each_other(canvas: Canvas) -> None:
    painter = Painter(setter=canvas)
    painter.paint("label", value="a", tooltip="b")
    painter.paint("other", value="c")
    until("all three are painted", lambda: len(canvas.painted) == 3)
    assert {item[1:] for item in canvas.painted} == {
        ("label", "value", "a"),
        ("label", "tooltip", "b"),
        ("other", "value", "c"),
    }


def test_a_value_that_stands_is_painted_once(canvas: Canvas) -> None:
    painter = Painter(frame=0.001, setter=canvas)
    painter.paint("label", value=1)
    until("the value is painted", lambda: canvas.painted)
    painter.paint("other", value=2)
    until("the next frame is painted", lambda: canvas.values("other"))
    assert canvas.values("label") == [1]


def test_a_value_waits_for_no_other_widget(canvas: Canvas) -> None:
    painter = Painter(frame=3600, setter=canvas)
    painter.paint("busy", value=1)
    until("the first is painted", lambda: canvas.painted)
    painter.paint("busy", value=2)
    painter.paint("label", value=3)
    until("the other is painted", lambda: canvas.values("label") == [3])
    assert canvas.values("busy") == [1]


def test_only_the_painters_thread_touches_widgets(canvas: Canvas) -> None:
    painter = Painter(setter=canvas)
    writers = [threading.Thread(target=painter.paint, args=[n], kwargs={"value": n}) for n in "abc"]
    for writer in writers:
        writer.start()
    until("all are painted", lambda: len(canvas.painted) == 3)
    assert canvas.threads == {"reactive_demo paint"}


def test_a_widget_that_raises_stops_neither_the_frame_nor_the_painter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    canvas = Canvas()

    def setter(widget: Any, name: str, value: Any) -> None:
        if widget == "broken":
            raise RuntimeError("no such comm")
        canvas(widget, name, value)

    painter = Painter(frame=0.001, setter=setter)
    for n in (1, 2):
        painter.paint("broken", value=n)
        painter.paint("label", value=n)
        until(f"{n} is painted", lambda n=n: n in canvas.values("label"))
    assert "no such comm" in caplog.text


def test_by_default_it_sets_the_attribute() -> None:
    widget = SimpleNamespace(value="old")
    Painter().paint(widget, value="new")
    until("the attribute is set", lambda: widget.value == "new")


def test_subscribers_are_told_of_each_change_and_not_of_a_value_that_stands() -> None:
    painter, widget = Painter(frame=0.001), SimpleNamespace(value="old")
    told: list[tuple[object, str, object]] = []
    painter.painted.subscribe(lambda *what: told.append(what))
    for value in ("old", "new"):
        painter.paint(widget, value=value)
        other = SimpleNamespace(seen=False)
        painter.paint(other, seen=True)
        until("it is painted", lambda other=other: other.seen)
    until("the change is told", lambda: (widget, "value", "new") in told)
    assert [what for what in told if what[0] is widget] == [(widget, "value", "new")]
