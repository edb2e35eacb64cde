"""A stop ends every kind of waiting at once."""

import gc
import resource
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reactive_demo.waiting import StopEvent

FOREVER = 60.0


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


@pytest.fixture
def many_files() -> Iterator[None]:
    """Take so many file descriptors that the next ones are above 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        with ExitStack() as files:
            for _ in range(1100):
                files.enter_context(Path("/dev/null").open())
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def woken(event: StopEvent, wait: Callable[[], bool]) -> bool:
    """What `wait` returns when the event is set while it waits."""
    answers: list[bool] = []
    entered = threading.Event()

    def waiting() -> None:
        entered.set()
        answers.append(wait())

    thread = threading.Thread(target=waiting, daemon=True)
    thread.start()
    assert entered.wait(5)
    event.set()
    thread.join(5)
    assert not thread.is_alive(), "it still waits"
    return answers[0]


def test_a_stop_ends_a_wait_for_data(line: tuple[socket.socket, socket.socket]) -> None:
    event = StopEvent()
    assert woken(event, lambda: event.wait_for_data(line[0].fileno(), FOREVER)) is False


def test_a_stop_ends_a_wait_for_the_event() -> None:
    event = StopEvent()
    assert woken(event, lambda: event.wait(FOREVER)) is True


def test_a_stop_ends_many_waits(line: tuple[socket.socket, socket.socket]) -> None:
    event = StopEvent()
    threads = [
        threading.Thread(target=event.wait_for_data, args=[line[0].fileno(), FOREVER], daemon=True)
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    event.set()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


def test_after_a_stop_nobody_waits_again(line: tuple[socket.socket, socket.socket]) -> None:
    event = StopEvent()
    event.set()
    event.set()
    for _ in range(2):
        assert event.wait_for_data(line[0].fileno(), FOREVER) is False
        assert event.wait(FOREVER)


def test_data_is_reported_with_and_without_a_stop(
    line: tuple[socket.socket, socket.socket],
) -> None:
    event = StopEvent()
    line[1].send(b"x")
    assert event.wait_for_data(line[0].fileno(), FOREVER)
    event.set()
    assert event.wait_for_data(line[0].fileno(), FOREVER)


def test_a_peer_that_is_gone_counts_as_data(line: tuple[socket.socket, socket.socket]) -> None:
    line[1].close()
    assert StopEvent().wait_for_data(line[0].fileno(), FOREVER)


def test_silence_ends_with_the_time_out(line: tuple[socket.socket, socket.socket]) -> None:
    event = StopEvent()
    assert not event.wait_for_data(line[0].fileno(), 0.01)
    assert not event.is_set()


def test_an_event_leaves_no_open_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()  # what other tests left is not ours
    unraisable: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        StopEvent()
        gc.collect()
    assert unraisable == []


@pytest.mark.usefixtures("many_files")
def test_descriptors_above_1024_are_waited_for_as_well() -> None:
    event = StopEvent()
    here, there = socket.socketpair()
    with here, there:
        assert here.fileno() > 1024
        assert woken(event, lambda: event.wait_for_data(here.fileno(), FOREVER)) is False
        there.send(b"x")
        assert event.wait_for_data(here.fileno(), FOREVER)
