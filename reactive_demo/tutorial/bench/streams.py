"""The profile app under load: many streams, many writers.

    python -m reactive_demo.tutorial.bench.streams

The server is a process of its own, `reactive-demo serve`, so its CPU time is its own as well. The
clients are bare sockets: a proper HTTP client would cost more than the server.
"""

import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import psutil

from reactive_demo.servers import connect
from reactive_demo.tutorial.web.serve import allow_many_files

__all__ = ["Crowd", "Server", "measure"]

IDENT = re.compile(rb"id: (\d+)\n")
VERSION = re.compile(rb'"version": "(\d+)"')

TIMEOUT = 60.0
"""Seconds after which an event counts as lost."""


@dataclass(frozen=True, slots=True)
class Server:
    """The app in a process of its own."""

    port: int
    process: psutil.Process

    @classmethod
    @contextmanager
    def start(cls, database_url: str, redis_url: str) -> Iterator["Server"]:
        """Start it, with its listener, on any free port; stop it at the end."""
        served = subprocess.Popen(
            [sys.executable, "-m", "reactive_demo", "serve", "--port", "0"],
            env={**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            said = served.stdout.readline() if served.stdout else ""
            yield cls(int(said.rstrip("/\n").rpartition(":")[2]), psutil.Process(served.pid))
        finally:
            served.terminate()
            served.communicate(timeout=20)

    def cpu(self, seconds: float) -> float:
        """Return the cores that it uses, as an average over so many seconds."""
        before = self.spent()
        time.sleep(seconds)
        return (self.spent() - before) / seconds

    def spent(self) -> float:
        """Return the CPU seconds that it has used so far."""
        return sum(self.process.cpu_times()[:2])


class Crowd:
    """Any number of clients that follow one profile, at these ports in turn."""

    def __init__(self, ports: int | Sequence[int], username: str, count: int) -> None:
        ports = [ports] if isinstance(ports, int) else ports
        self._selector = selectors.DefaultSelector()
        self._tails: dict[socket.socket, bytes] = {}
        self.seen: dict[socket.socket, int] = {}
        """The last version that each client was sent, 0 before the first."""
        for number in range(count):
            client = _client(ports[number % len(ports)])
            client.sendall(_request("GET", f"/stream?username={username}"))
            client.setblocking(False)
            self._selector.register(client, selectors.EVENT_READ)
            self._tails[client], self.seen[client] = b"", 0

    def wait(self, version: int) -> list[float]:
        """Return when each client had `version` or a later one, by `time.perf_counter`.

        Raises TimeoutError after 60 s.
        """
        arrived: dict[socket.socket, float] = {}
        deadline = time.monotonic() + TIMEOUT
        while len(arrived) < len(self.seen):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{len(self.seen) - len(arrived)} clients have not seen {version}"
                )
            for client in self._hear(1):
                if self.seen[client] >= version:
                    arrived.setdefault(client, time.perf_counter())
        return list(arrived.values())

    def close(self) -> None:
        """Hang up."""
        for client in self.seen:
            client.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _hear(self, timeout: float) -> Iterator[socket.socket]:
        for key, _ in self._selector.select(timeout):
            client: Any = key.fileobj
            text = self._tails[client] + (data := client.recv(65_536))
            if not data:
                raise ConnectionError("a stream ended")
            if idents := IDENT.findall(text):
                self.seen[client] = int(idents[-1])
            self._tails[client] = text[-300:]
            yield client


def measure(
    server: Server, clients: int, updates: int, idle: float = 10.0, *, others: Sequence[Server] = ()
) -> dict[str, float]:
    """Update a profile that `clients` follow, `updates` times; return the figures.

    They are the events received, the median and two percentiles in ms from the request to an event,
    the CPU that an update costs the server, and the cores that it uses during `idle` seconds
    without a change. The clients are spread over the server and the `others`, and
    every update goes to the server.
    """
    ports = [one.port for one in (server, *others)]
    username = f"crowd{clients}"
    taken: list[float] = []
    with _client(server.port) as client:
        first = _update(client, username)
        with Crowd(ports, username, clients) as crowd:
            crowd.wait(first)
            spent = server.spent()
            for _ in range(updates):
                begun = time.perf_counter()
                version = _update(client, username)
                taken += [1000 * (moment - begun) for moment in crowd.wait(version)]
            spent = server.spent() - spent
            cores = server.cpu(idle)
            crowd.wait(_update(client, username))  # all are still connected
    taken.sort()
    return {
        "events": len(taken),
        "p50 ms": statistics.median(taken),
        "p95 ms": taken[int(0.95 * (len(taken) - 1))],
        "p99 ms": taken[int(0.99 * (len(taken) - 1))],
        "cpu ms": 1000 * spent / updates,
        "idle cores": cores,
    }


def rate(server: Server, clients: int, seconds: float) -> float:
    """Return the updates a second by clients that each wait for the answer, beside one stream."""
    selector = selectors.DefaultSelector()
    requests = {}
    with Crowd(server.port, "rate0", 1):
        for number in range(clients):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(client, selectors.EVENT_READ)
            requests[client] = _request("PUT", f"/v1/profile/rate{number}?action=inc_likes")
            client.sendall(requests[client])
        begun, count = time.perf_counter(), 0
        while (spent := time.perf_counter() - begun) < seconds:
            for key, _ in selector.select(1):
                answering: Any = key.fileobj
                if not answering.recv(65_536).startswith(b"HTTP/1.1 200"):
                    raise ConnectionError("an update failed")
                count += 1
                answering.sendall(requests[answering])
        for client in requests:
            client.close()
    selector.close()
    return count / spent


def _request(method: str, target: str) -> bytes:
    length = "Content-Length: 0\r\n" if method == "PUT" else ""
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n".encode()


def _client(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)


def _update(client: socket.socket, username: str) -> int:
    client.sendall(_request("PUT", f"/v1/profile/{username}?action=inc_likes"))
    found = VERSION.search(client.recv(65_536))
    if not found:
        raise ConnectionError("an update failed")
    return int(found[1])


def main() -> None:
    """Measure, and print each figure as it is known."""
    allow_many_files()
    with connect() as stack, Server.start(stack.database_url, stack.redis_url) as server:
        for clients, updates in ((1, 200), (500, 10), (2000, 3)):
            figures = measure(server, clients, updates)
            print(clients, "clients:", _rounded(figures))
        print("updates/s by 32 clients:", round(rate(server, 32, 3)))
        with Server.start(stack.database_url, stack.redis_url) as second:
            for _ in range(3):  # in turn, so that a slow moment affects both
                print("2000 clients, one process:", _rounded(measure(server, 2000, 3, 1.0)))
                both = measure(server, 2000, 3, 1.0, others=[second])
                print("2000 clients, two processes:", _rounded(both))


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(figure, 3) for name, figure in figures.items()}


if __name__ == "__main__":
    main()
