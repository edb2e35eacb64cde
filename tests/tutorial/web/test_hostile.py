"""What comes from the network may be anything: broken, slow, half-open, or sent on purpose."""

import ctypes
import random
import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from reactive_demo import ProfileApp
from reactive_demo.tutorial.web import WebOptions
from tools.waiting import until
from tools.web import Stream, ask, update
from tutorial.web.conftest import Web

SO_ATTACH_FILTER = 26
"""Linux's; Python has no name for it."""


UPDATE = b"PUT /v1/profile/slow?action=inc_likes HTTP/1.1\r\nHost: localhost\r\n"
"""A request without its end."""


def streams(port: int) -> int:
    """How many streams are open."""
    return int(ask(port, "GET", "/healthz").json["streams"])


def make_deaf(connection: socket.socket) -> None:
    """Drop whatever comes in before the kernel sees it, so that nothing is acknowledged.

    That is how a laptop that was shut, or a network that went away, looks from the other side.
    """
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # ret 0
    program = struct.pack("HL", 1, ctypes.addressof(drop_all))
    try:
        connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    except PermissionError:
        pytest.skip("this machine lets only root filter what a socket receives")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's socket filters")
def test_a_viewer_that_is_gone_without_a_word_is_noticed(web: Web) -> None:
    options = WebOptions(heartbeat_after=0.1, tick=0.05, peer_timeout=1)
    with (
        ProfileApp(web.database_url, web.redis_url, options=options) as app,
        Stream(app.port, "stays") as stays,
        Stream(app.port, "gone") as gone,
    ):
        gone.event()
        assert streams(app.port) == 2
        make_deaf(gone._connection)
        until("it is noticed", lambda: streams(app.port) == 1, timeout=30)
        version = update(app.port, "stays")
        assert stays.until(version)


def test_with_the_defaults_that_takes_about_a_minute() -> None:
    options = WebOptions()
    assert options.heartbeat_after + options.peer_timeout <= 60


@pytest.fixture
def impatient(web: Web) -> Iterator[ProfileApp]:
    options = WebOptions(header_timeout=0.2, body_timeout=0.2)
    with ProfileApp(web.database_url, web.redis_url, options=options) as app:
        yield app


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"P",
        UPDATE,
        UPDATE + b"Content-Length: 10\r\n\r\n1",
        UPDATE + b"Transfer-Encoding: chunked\r\n\r\na\r\n1",
    ],
    ids=["nothing", "a byte", "a header", "a body", "a chunk"],
)
def test_a_request_that_never_ends_is_ended(web: Web, impatient: ProfileApp, sent: bytes) -> None:
    before = web.rows()
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""
    assert web.rows() == before


def test_a_connection_that_drips_is_ended_too(impatient: ProfileApp) -> None:
    """The limit is for the whole head: a byte now and then does not extend it."""
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=0.05) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")

        def ended() -> bool:
            try:
                connection.send(b"x")
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until("it is ended", ended)


def test_a_stream_outlives_those_limits(impatient: ProfileApp) -> None:
    with Stream(impatient.port, "long") as stream:
        stream.event()
        with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as idle:
            assert idle.recv(1) == b""  # the limit has gone by
        version = update(impatient.port, "long")
        assert stream.event().ident == version


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 70000", b"Content-Length: -1", b"Content-Length: 9" + b"9" * 30],
    ids=["large", "negative", "huge"],
)
def test_a_body_beyond_the_limit_is_refused(web: Web, head: bytes) -> None:
    before = web.rows()
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as connection:
        connection.sendall(UPDATE + head + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert web.rows() == before


def test_chunks_beyond_the_limit_are_refused(web: Web) -> None:
    before = web.rows()
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as connection:
        chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        connection.sendall(UPDATE + b"Transfer-Encoding: chunked\r\n\r\n" + 2 * chunk + b"8000\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert web.rows() == before


PIECES = ["http://", "https:", "//", "[", "]", "::1", "localhost", "127.0.0.1", ":", "99999", "@"]
PIECES += ["%00", "%", "null", ",", " ", "\t", "\xff", "é", "\x7f", "#", "?", "/", "\\", "-1", "0"]


@pytest.mark.parametrize("name", ["Host", "Origin", "Last-Event-ID", "Sec-Fetch-Site", "Cookie"])
def test_no_header_is_an_error_of_ours(web: Web, name: str) -> None:
    """A refusal, or the answer that it would have had without."""
    chance = random.Random(name)
    before = web.rows()
    for _ in range(300):
        value = "".join(chance.choices(PIECES, k=chance.randint(0, 6)))
        host = "" if name == "Host" else "Host: localhost\r\n"
        for method, target in (("POST", "/v1/profile/x?action=no"), ("GET", "/stream?username=")):
            head = f"{method} {target} HTTP/1.1\r\n{host}{name}: {value}\r\n\r\n"
            assert status(web.port, head.encode()) in {400, 403}, head
    assert web.rows() == before


def test_no_query_is_an_error_of_ours(web: Web) -> None:
    chance = random.Random(7)
    for _ in range(300):
        pieces = ["username", "=", "&", ";", "%", "%ff", "%00", "+", "action", "ada", "[]", "%5B"]
        query = "".join(chance.choices(pieces, k=chance.randint(0, 12)))
        head = f"GET /stream?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert status(web.port, head.encode()) in {200, 400}, head
    many = "&".join(f"username={n}" for n in range(51))
    assert "at most 50" in ask(web.port, "GET", f"/stream?{many}").json["error"]
    until("their streams have ended", lambda: streams(web.port) == 0)


def status(port: int, request: bytes) -> int:
    """The status of the answer; the rest of it is left."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        return int(connection.makefile("rb").readline().split()[1])
