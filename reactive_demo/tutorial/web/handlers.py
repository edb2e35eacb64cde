"""The HTTP interface: the article's two addresses, and what a page and a watchman need."""

import json
import logging
import socket
from asyncio import Event, Future
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from types import TracebackType
from typing import Any

import redis
from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, RequestHandler

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.tutorial.web import origin_guard
from reactive_demo.tutorial.web.events import OPENING
from reactive_demo.tutorial.web.hub import Hub
from reactive_demo.tutorial.web.query import QueryError, checked_name, counter_of, username_of
from reactive_demo.tutorial.web.reader import Reader
from reactive_demo.tutorial.web.sse_client import SseClient

__all__ = ["ROUTES", "Services"]

log = logging.getLogger(__name__)

FRESH = 6
"""Seconds for which a listener's sign of life holds: it gives one every 2 s."""

ROOM = 16_384
"""Bytes that may wait in a viewer's socket."""

HEADERS = {
    "Server": "reactive_demo",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A notebook of the same machine may show the page in a frame; nobody else.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self' http://localhost:* http://127.0.0.1:*",
}

PAGE = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass
class Services:
    """What the handlers use."""

    increment: Callable[[str, str], Future[int | None]]
    """Writes the database: username and counter; the version."""
    audience: Hub
    reader: Reader
    hosts: Collection[str] = ()
    """Names of this server beside those of loopback."""
    quiet: Event = field(default_factory=Event)
    """Set while no request is being answered."""
    _active: set["Handler"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.quiet.set()

    def begin(self, handler: "Handler") -> None:
        """A request is being answered."""
        self._active.add(handler)
        self.quiet.clear()

    def end(self, handler: "Handler") -> None:
        """It is answered, or who asked has gone."""
        self._active.discard(handler)
        if not self._active:
            self.quiet.set()


class Handler(RequestHandler):
    """What all have in common: headers, the gate, errors as JSON."""

    def initialize(self, services: Services) -> None:
        """Take the services."""
        self.services = services
        services.begin(self)

    def set_default_headers(self) -> None:
        """Let nothing be guessed, kept, framed or read by other sites."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Turn away who may not ask."""
        changes = self.request.method not in {"GET", "HEAD"}
        reason = origin_guard.refusal(self.request.headers, self.services.hosts, changes=changes)
        if reason is not None:
            self.fail(403, reason)

    def on_finish(self) -> None:
        """The request is answered."""
        self.services.end(self)

    def on_connection_close(self) -> None:
        """The one who asked has gone."""
        self.services.end(self)

    def compute_etag(self) -> None:
        """None: what changes all the time is not kept."""

    def answer(self, content: dict[str, Any], status: int = 200) -> None:
        """End the request with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(content) + "\n")

    def fail(self, status: int, words: str) -> None:
        """End the request with an error in words."""
        self.answer({"error": words}, status)

    def write_error(self, status_code: int, **_: Any) -> None:
        """What Tornado, or a fault of ours, ends a request with."""
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(self.methods()))
        self.fail(status_code, f"{HTTPStatus(status_code).phrase}.")

    def log_exception(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Log what is a fault of ours; what was asked wrongly is answered, and that is all."""
        if not isinstance(error, HTTPError):
            log.error("%s %s", self.request.method, self.request.path, exc_info=error)

    @classmethod
    def methods(cls) -> list[str]:
        """The methods that it has."""
        names = ("GET", "HEAD", "POST", "PUT", "PATCH")
        return [name for name in names if name.lower() in vars(cls)]


class ProfileHandler(Handler):
    """`/v1/profile/<username>`: GET reads the cache; PUT, POST and PATCH write the database."""

    async def get(self, username: str) -> None:
        """The cached profile, with its version."""
        try:
            channel = self.services.reader.channel(checked_name(username))
            row, version = (await self.services.reader.read([channel]))[channel]
        except QueryError as error:
            self.fail(400, str(error))
        except redis.RedisError as error:
            self.fail(503, f"Redis does not answer ({error}).")
        else:
            if row is None:
                self.fail(404, "The cache holds no such profile.")
            else:
                self.answer({**row, "version": version})

    head = get

    async def put(self, username: str) -> None:
        """Add one to a counter; the version that this made, for who wants to wait for it."""
        try:
            name = checked_name(username)
            counter = counter_of(self.request.query_arguments)
            version = await self.services.increment(name, counter)
        except QueryError as error:
            self.fail(400, str(error))
        except ReactiveDemoError as error:
            self.fail(503, str(error))
        else:
            self.answer({"username": name, "version": None if version is None else str(version)})

    post = put
    patch = put


class StreamHandler(Handler):
    """`/stream?username=<username>`: the cached profile, now and whenever it changes."""

    viewer: SseClient | None = None

    async def get(self) -> None:
        """Send events until the viewer goes, or the server stops."""
        try:
            username = username_of(self.request.query_arguments)
        except QueryError as error:
            self.fail(400, str(error))
            return
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)  # noqa: S101  (this server has no other)
        stream = connection.stream
        stream.set_nodelay(True)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")  # a proxy that collects would delay
        self.write(OPENING)
        await self.flush()
        self.viewer = viewer = SseClient(connection.write, stream.close)
        with self.services.audience.watching(username, viewer):
            await viewer.ended.wait()

    def on_connection_close(self) -> None:
        """The viewer has gone."""
        super().on_connection_close()
        if self.viewer is not None:
            self.viewer.end()


class HealthHandler(Handler):
    """`/healthz`: whether changes reach the cache, whoever carries them."""

    async def get(self) -> None:
        """200 while any listener's sign of life is fresh, wherever it runs; else 503."""
        try:
            age = await self.services.reader.heartbeat_age()
        except redis.RedisError as error:
            self.fail(503, f"Redis does not answer ({error}).")
            return
        if age is not None and age <= FRESH:
            self.answer({"status": "ok", "heartbeat_age": age})
        else:
            words = "No listener has given a sign of life: the cache does not follow the database."
            self.answer({"status": "stale", "heartbeat_age": age, "error": words}, 503)

    head = get


class PageHandler(Handler):
    """The page: a file of HTML, one of CSS, one script."""

    def get(self, name: str) -> None:
        """Send the file."""
        file, kind = PAGE[name]
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", "no-cache")
        self.finish((files("reactive_demo.tutorial.web") / "page" / file).read_bytes())

    head = get


class NothingHandler(Handler):
    """Every other address."""

    def prepare(self) -> None:
        """There is nothing, whatever the method."""
        self.fail(404, "There is nothing at this address.")


ROUTES = (
    (r"/v1/profile/([^/]*)", ProfileHandler),
    (r"/stream", StreamHandler),
    (r"/healthz", HealthHandler),
    (rf"/({'|'.join(PAGE)})", PageHandler),
    (r".*", NothingHandler),
)
