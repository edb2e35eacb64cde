"""The parts that decide, without a socket: what is let in, what is sent, what is skipped."""

import asyncio
import json

import pytest
import redis

from reactive_demo.errors import RefusedError, UnavailableError
from reactive_demo.tutorial.transient import is_transient
from reactive_demo.tutorial.web import WebOptions
from reactive_demo.tutorial.web.events import HEARTBEAT, event, named, row_text, with_version
from reactive_demo.tutorial.web.origin_guard import refusal
from reactive_demo.tutorial.web.query import QueryError, checked_name, counter_of
from reactive_demo.tutorial.web.sse_client import SseClient
from tools.loops import run_coroutine


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST",
        "127.0.0.1:1",
        "127.9.9.9",
        "[::1]:8000",
        "a.localhost",
    ],
)
def test_loopback_has_many_names(host: str) -> None:
    assert refusal({"Host": host}) is None


@pytest.mark.parametrize(
    "host",
    ["", "example.org", "localhost.example.org", "192.168.0.1", "[::2]", "[", "127.0.0.1.nip.io"],
)
def test_no_other_name_is_ours_unless_allowed(host: str) -> None:
    assert "--allow-host" in str(refusal({"Host": host}))
    assert refusal({"Host": "example.org:81"}, {"example.org"}) is None


def test_a_read_may_come_from_any_page_and_a_change_may_not() -> None:
    foreign = {"Host": "localhost:1", "Origin": "http://localhost:2"}
    assert refusal(foreign) is None
    assert "origin" in str(refusal(foreign, changes=True))
    assert refusal({**foreign, "Origin": "https://LOCALHOST:1"}, changes=True) is None


@pytest.mark.parametrize(
    "origin", ["http://[", "http://]", "http://[::1", "[", "//", "a", "\t", "http://@"]
)
def test_an_origin_that_is_none_is_foreign(origin: str) -> None:
    headers = {"Host": "localhost:1", "Origin": origin}
    assert "another origin" in str(refusal(headers, changes=True))


def test_a_name_has_1_to_50_characters_whatever_they_are() -> None:
    assert checked_name("é" * 50) == "é" * 50
    for wrong in ("", "x" * 51, "a\0b"):
        with pytest.raises(QueryError, match="A username has"):
            checked_name(wrong)


def test_an_action_is_one_of_three() -> None:
    assert counter_of({"action": [b"inc_likes"]}) == "likes"
    with pytest.raises(QueryError, match="inc_followings, inc_followers, inc_likes"):
        counter_of({"action": [b"likes"]})


def test_an_event_is_one_line_of_data() -> None:
    text = row_text('{"a":\r\n"\\n"\n}')
    assert event(text, "7") == b'id: 7\ndata: {"a":  "\\n" }\n\n'
    assert event(None, None) == b"data: null\n\n"
    assert event("{}", "1\ndata: 2") == b"data: {}\n\n"


def test_the_events_of_several_profiles_have_names_and_never_anothers_id() -> None:
    assert named("profile:a b\n('é')", event("{}", "7")) == (
        b"event: profile%3Aa%20b%0A('%C3%A9')\nid: 7\ndata: {}\n\n"
    )
    assert named("profile:a", event(None, None)) == b"event: profile%3Aa\nid:\ndata: null\n\n"


@pytest.mark.parametrize(
    "text",
    [
        '{"x": 1e400}',
        '{"x":-0.10,"y":12345678901234567890.0123456789}',
        '{"x": ' + "9" * 5000 + "}",
        '{"x": "1e400", "z": [null, true]}',
        "{ }",
    ],
    ids=range(5),
)
def test_a_row_keeps_its_text(text: str) -> None:
    assert row_text(text) == text
    spliced = with_version(text, "7")
    assert spliced.startswith(text[:-1].rstrip())
    row, whole = (json.loads(one, parse_int=str, parse_float=str) for one in (text, spliced))
    assert whole == {**row, "version": "7"}


@pytest.mark.parametrize(
    "text",
    ["", "7", "null", "[]", '{"x": NaN}', '{"x": -Infinity}', "{} {}", "[" * 9999, '{"a": "\n"}'],
)
def test_what_is_no_json_object_is_no_row(text: str) -> None:
    assert row_text(text) is None


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (UnavailableError(), True),
        (RefusedError(), False),
        (redis.ConnectionError(), True),
        (redis.TimeoutError(), True),
        (redis.AuthenticationError(), False),
        (redis.ResponseError(), False),
        (redis.ResponseError("BUSY Redis is busy running a script."), True),
        (redis.exceptions.BusyLoadingError(), True),
        (redis.exceptions.NoPermissionError(), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_what_may_pass_by_itself_is_transient(error: Exception, *, transient: bool) -> None:
    assert is_transient(error) == transient


class Socket:
    """Takes what is written when it is told to."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.closed = False
        self._waiting: list[asyncio.Future[None]] = []
        self.full = False

    def write(self, event: bytes) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.taken.append(event)
        if self.full:
            self._waiting.append(future)
        else:
            future.set_result(None)
        return future

    async def drain(self) -> None:
        self._waiting.pop(0).set_result(None)
        await asyncio.sleep(0)

    def close(self) -> None:
        self.closed = True


def test_of_events_that_wait_only_the_last_is_sent() -> None:
    async def scenario() -> None:
        socket = Socket()
        client = SseClient(socket.write, socket.close, WebOptions())
        client.send(b"1")
        socket.full = True
        for number in range(2, 100):
            client.send(b"%d" % number)
        assert socket.taken == [b"1", b"2"]
        await socket.drain()
        assert socket.taken == [b"1", b"2", b"99"]
        await socket.drain()
        assert socket.taken == [b"1", b"2", b"99"]
        client.send(b"100")
        assert socket.taken[-1] == b"100"
        assert not client.ended.is_set()

    run_coroutine(scenario())


def test_a_heartbeat_is_for_the_silent_and_the_end_for_the_stuck() -> None:
    async def scenario() -> None:
        socket = Socket()
        client = SseClient(socket.write, socket.close, WebOptions())
        client.send(b"1")
        now = client._sent_at
        client.beat(now + WebOptions().heartbeat_after - 1)
        assert socket.taken == [b"1"]
        socket.full = True
        client.beat(now + WebOptions().heartbeat_after + 1)
        assert socket.taken == [b"1", HEARTBEAT]
        now = client._sent_at
        client.beat(now + WebOptions().client_timeout - 1)
        assert not socket.closed
        client.beat(now + WebOptions().client_timeout + 1)
        assert socket.closed
        assert client.ended.is_set()

    run_coroutine(scenario())


def test_a_write_that_fails_ends_the_stream() -> None:
    async def scenario() -> None:
        def write(_: bytes) -> asyncio.Future[None]:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.set_exception(ConnectionError())
            return future

        client = SseClient(write, lambda: None, WebOptions())
        client.send(b"1")
        assert client.ended.is_set()

    run_coroutine(scenario())
