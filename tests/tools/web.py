"""Clients of the profile app that do what no library would: pipeline, read slowly, hang up."""

import json
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Self
from urllib.parse import quote


class Answer(NamedTuple):
    """What came back for a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(method: str, target: str, *headers: str, host: str = "localhost") -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if method in {"PUT", "POST", "PATCH"}:
        lines.append("Content-Length: 0")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def exchange(port: int, requests: Sequence[bytes]) -> list[Answer]:
    """Send all requests at once on one connection, and read all answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"".join(requests))
        with connection.makefile("rb") as source:
            return [_answer(source, without_body=one.startswith(b"HEAD")) for one in requests]


def ask(port: int, method: str, target: str, *headers: str, host: str = "localhost") -> Answer:
    """Send one request and read its answer."""
    return exchange(port, [request(method, target, *headers, host=host)])[0]


def update(port: int, username: str, counter: str = "likes") -> str:
    """Increment by HTTP; the version."""
    answer = ask(port, "PUT", f"/v1/profile/{quote(username, safe='')}?action=inc_{counter}")
    assert answer.status == 200, answer
    return str(answer.json["version"])


def _head(source: Any) -> tuple[int, dict[str, str]]:
    status = int(source.readline().split()[1])
    lines = iter(lambda: source.readline().decode().rstrip("\r\n"), "")
    return status, {
        key.lower(): value.strip() for key, _, value in (s.partition(":") for s in lines)
    }


def _answer(source: Any, *, without_body: bool) -> Answer:
    status, headers = _head(source)
    length = 0 if without_body else int(headers.get("content-length", 0))
    return Answer(status, headers, source.read(length))


class Event(NamedTuple):
    """A server-sent event."""

    ident: str | None
    data: Any


class NamedEvent(NamedTuple):
    """One of a stream of several profiles."""

    ident: str | None
    data: Any
    name: str


class Stream:
    """One who watches; reads only when it is asked to."""

    def __init__(self, port: int, username: str | list[str], *headers: str, room: int = 0) -> None:
        self._connection = socket.socket()
        if room:  # bytes that wait in this socket at most
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self._connection.settimeout(20)
        self._connection.connect(("127.0.0.1", port))
        names = [username] if isinstance(username, str) else username
        query = "&".join(f"username={quote(name, safe='')}" for name in names)
        self._connection.sendall(request("GET", f"/stream?{query}", *headers))
        self._source = self._connection.makefile("rb")
        self.status, self.headers = _head(self._source)
        self.comments = 0
        self._lines: list[str] = []

    def event(self) -> Any:
        """The next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        deadline = time.monotonic() + 20
        while (line := self._line()) is not None:
            if line.startswith(":"):
                self.comments += 1
                assert time.monotonic() < deadline, "nothing but heartbeats comes"
            elif line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            elif "data" in fields:
                event = Event(fields.get("id"), json.loads(fields["data"]))
                return NamedEvent(*event, fields["event"]) if "event" in fields else event
            else:
                fields = {}
        return None

    def heard_comment(self) -> int:
        """Read one line; how many comments there were so far."""
        line = self._line()
        self.comments += line is not None and line.startswith(":")
        return self.comments

    def until(self, ident: str) -> Event:
        """Read on to the event of this version, or a later one."""
        while (event := self.event()) is not None:
            if event.ident is not None and int(event.ident) >= int(ident):
                return event
        raise AssertionError(f"the stream ended before {ident}")

    def close(self) -> None:
        self._source.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _line(self) -> str | None:
        """The next line, out of the chunks that it came in; None at the end."""
        while not self._lines:
            size = int(self._source.readline().strip() or b"0", 16)
            text = self._source.read(size + 2)[:-2].decode()
            if size == 0:
                return None
            assert text.endswith("\n"), "each chunk holds whole events"
            self._lines = text.split("\n")[:-1]
        return self._lines.pop(0)
