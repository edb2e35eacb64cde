"""The profile app in two processes behind a proxy, which sends each request to either."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tools.haproxy import haproxy
from tools.waiting import until
from tools.web import Stream, ask, update

pytestmark = pytest.mark.long


class Process:
    """`reactive-demo serve`, with a listener, of which one leads."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reactive_demo", "serve", "--port", "0"],
            env={**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(re.search(r":(\d+)/$", self._process.stdout.readline())[1])

    @property
    def streams(self) -> int:
        return int(ask(self.port, "GET", "/healthz").json["streams"])

    def end(self, by: signal.Signals = signal.SIGTERM) -> None:
        if self._process.poll() is None:
            self._process.send_signal(by)
        self._process.communicate(timeout=20)


@pytest.fixture
def processes(database_url: str, valkey_url: str) -> Iterator[list[Process]]:
    started = [Process(database_url, valkey_url) for _ in range(2)]
    until("a listener is at work", lambda: ask(started[0].port, "GET", "/healthz").status == 200)
    yield started
    for process in started:
        process.end()


@pytest.fixture
def proxy(processes: list[Process], proxy_program: str, folder: Path) -> Iterator[int]:
    """The proxy's port."""
    with haproxy(proxy_program, [process.port for process in processes], folder) as port:
        yield port


def test_viewers_of_both_see_what_was_written_through_either(
    processes: list[Process], proxy: int
) -> None:
    with ExitStack() as open_until_the_end:
        streams = [open_until_the_end.enter_context(Stream(proxy, "ada")) for _ in range(6)]
        assert [process.streams for process in processes] == [3, 3]
        for likes in range(1, 11):
            version = update(proxy, "ada")
            for stream in streams:
                assert stream.until(version).data["likes_count"] >= likes


def test_a_client_goes_on_where_it_was_at_another_process(processes: list[Process]) -> None:
    """An event's id is the row's version, which every process knows."""
    one, other = processes
    with Stream(one.port, "ada") as stream:
        seen = stream.until(update(one.port, "ada"))
    latest = update(one.port, "ada")
    with Stream(other.port, "ada", f"Last-Event-ID: {seen.ident}") as stream:
        assert stream.until(latest).data["likes_count"] == 2
        assert stream.until(update(other.port, "ada")).data["likes_count"] == 3


def test_the_viewers_of_a_killed_process_go_on_at_the_other(
    processes: list[Process], proxy: int
) -> None:
    """The first process has the listener that leads: the other's leads after it."""
    version = update(proxy, "ada")
    with ExitStack() as open_until_the_end:
        streams = [open_until_the_end.enter_context(Stream(proxy, "ada")) for _ in range(4)]
        for stream in streams:
            stream.until(version)
        processes[0].end(signal.SIGKILL)
        version = update(processes[1].port, "ada")
        for number, stream in enumerate(streams):
            event = stream.event()
            if event is None:  # as a browser does
                again = Stream(proxy, "ada", f"Last-Event-ID: {version}")
                streams[number] = open_until_the_end.enter_context(again)
        until("all are at the other", lambda: processes[1].streams == len(streams))
        version = update(proxy, "ada")
        for stream in streams:
            assert stream.until(version).data["likes_count"] == 3
