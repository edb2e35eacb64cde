"""Signals: observers attach from outside, and none can hurt the sender or another one."""

import pytest

from reactive_demo.signals import Signal


def test_a_subscriber_is_told_until_it_unsubscribes() -> None:
    signal: Signal[[int]] = Signal()
    told: list[int] = []
    assert not signal
    unsubscribe = signal.subscribe(told.append)
    assert signal
    signal(1)
    unsubscribe()
    unsubscribe()
    signal(2)
    assert told == [1]
    assert not signal


def test_a_subscriber_that_fails_keeps_it_from_nobody(caplog: pytest.LogCaptureFixture) -> None:
    signal: Signal[[int]] = Signal()
    told: list[int] = []
    signal.subscribe(lambda n: [][n])
    signal.subscribe(told.append)
    signal(1)
    assert told == [1]
    assert "IndexError" in caplog.text


def test_a_subscriber_may_end_itself_while_it_is_told() -> None:
    signal: Signal[[int]] = Signal()
    told: list[int] = []

    def once(n: int) -> None:
        told.append(n)
        unsubscribe()

    unsubscribe = signal.subscribe(once)
    signal.subscribe(told.append)
    signal(1)
    signal(2)
    assert told == [1, 1, 2]
