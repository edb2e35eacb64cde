"""The HTTP interface: the article's two addresses, the page, and a health check."""

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
from reactive_demo.tutorial.transient import is_transient
from reactive_demo.tutorial.web import origin_guard
from reactive_demo.tutorial.web.events import OPENING, row_text, with_version
from reactive_demo.tutorial.web.hub import Hub
from reactive_demo.tutorial.web.options import WebOptions
from reactive_demo.tutorial.web.query import QueryError, checked_name, counter_of, usernames_of
from reactive_demo.tutorial.web.reader import Reader
from reactive_demo.tutorial.web.sse_client import SseClient

__all__ = ["ROUTES", "Services"]

log = logging.getLogger(__name__)

SEND_BUFFER = 16_384
"""Bytes that may wait in the socket of a stream."""

RETRY_AFTER = "1"
"""Seconds that a client should wait after a transient error."""

POLLING = (
    "Redis refuses SUBSCRIBE to this account, so streams look for changes every {:g} s: grant it "
    "the channels of the profiles (ACL SETUSER ... &profile:*)."
)

HEADERS = {
    "Server": "reactive_demo",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A notebook on this machine may show the page in a frame; no other site may.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self' http://localhost:* http://127.0.0.1:*",
}

PAGE = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "follow.js": ("follow.js", "text/javascript; charset=utf-8"),
    "streams.js": ("streams.js", "text/javascript; charset=utf-8"),
    "worker.js": ("worker.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass
class Services:
    """What the handlers use."""

    increment: Callable[[str, str], Future[int | None]]
    """Writes the database, given username and counter; the future of the version."""
    hub: Hub
    reader: Reader
    options: WebOptions
    hosts: Collection[str] = ()
    """Names of this server besides those of loopback."""
    idle: Event = field(default_factory=Event)
    """Set while no request is open."""
    _open: set["Handler"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.idle.set()

    def begin(self, handler: "Handler") -> None:
        """Note that a request has come in."""
        self._open.add(handler)
        self.idle.clear()

    def end(self, handler: "Handler") -> None:
        """Note that it was answered, or that its client has gone."""
        self._open.discard(handler)
        if not self._open:
            self.idle.set()


class Handler(RequestHandler):
    """What all handlers share: headers, the origin guard, errors as JSON."""

    def initialize(self, services: Services) -> None:
        """Take the services."""
        self.services = services
        services.begin(self)

    def set_default_headers(self) -> None:
        """Forbid other sites to guess, keep, frame or read an answer."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuse requests that the origin guard does not let in."""
        changes = self.request.method not in {"GET", "HEAD"}
        reason = origin_guard.refusal(self.request.headers, self.services.hosts, changes=changes)
        if reason is not None:
            self.fail(403, reason)

    def on_finish(self) -> None:
        """Note that the request is answered."""
        self.services.end(self)

    def on_connection_close(self) -> None:
        """Note that the client has gone."""
        self.services.end(self)

    def compute_etag(self) -> None:
        """Compute none: answers that change all the time are not cached."""

    def answer(self, content: dict[str, Any], status: int = 200) -> None:
        """End the request with `content` as JSON."""
        self.answer_text(json.dumps(content), status)

    def answer_text(self, content: str, status: int = 200) -> None:
        """End the request with what is JSON already."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(content + "\n")

    def fail(self, status: int, words: str) -> None:
        """End the request with an error in words."""
        self.answer({"error": words}, status)

    def fail_with(self, server: str, error: Exception) -> None:
        """End the request with 503 if `server` may be back soon, and with 500 otherwise.

        The log has the details; the client learns neither host nor user.
        """
        if not is_transient(error):
            self.log_exception(type(error), error, error.__traceback__)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        log.warning("%s %s: %s", self.request.method, self.request.path, error)
        self.set_header("Retry-After", RETRY_AFTER)
        public = error.public if isinstance(error, ReactiveDemoError) else None
        self.fail(503, public or f"{server} does not answer: try again in a moment.")

    def write_error(self, status_code: int, **_: Any) -> None:
        """End a request that Tornado refuses, or that failed by a fault of ours."""
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(self.methods()))
        self.fail(status_code, f"{HTTPStatus(status_code).phrase}.")

    def log_exception(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Log our own faults; a client's are answered, and that is all."""
        if not isinstance(error, HTTPError):
            log.error("%s %s", self.request.method, self.request.path, exc_info=error)

    @classmethod
    def methods(cls) -> list[str]:
        """Return the HTTP methods that it handles."""
        names = ("GET", "HEAD", "POST", "PUT", "PATCH")
        return [name for name in names if name.lower() in vars(cls)]


class ProfileHandler(Handler):
    """`/v1/profile/<username>`: GET reads the cache; PUT, POST and PATCH write the database."""

    async def get(self, username: str) -> None:
        """Answer with the cached profile and its version."""
        try:
            channel = self.services.reader.channel(checked_name(username))
            cached = (await self.services.reader.read([channel]))[channel]
        except QueryError as error:
            self.fail(400, str(error))
        except redis.RedisError as error:
            self.fail_with("Redis", error)
        else:
            if (row := row_text(cached.row)) is None:
                self.fail(404, "The cache holds no such profile.")
            else:
                self.answer_text(with_version(row, cached.version))

    head = get

    async def put(self, username: str) -> None:
        """Add one to a counter; answer with the version, which the client can wait for."""
        try:
            name = checked_name(username)
            counter = counter_of(self.request.query_arguments)
            version = await self.services.increment(name, counter)
        except QueryError as error:
            self.fail(400, str(error))
        except ReactiveDemoError as error:
            self.fail_with("PostgreSQL", error)
        else:
            self.answer({"username": name, "version": None if version is None else str(version)})

    post = put
    patch = put


class StreamHandler(Handler):
    """`/stream?username=<username>`: the cached profile, now and whenever it changes.

    `username` may be there several times; then each event has the name of its profile's channel.
    """

    client: SseClient | None = None

    async def get(self) -> None:
        """Send events until the client goes, or the server stops."""
        try:
            usernames = usernames_of(self.request.query_arguments)
        except QueryError as error:
            self.fail(400, str(error))
            return
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)  # noqa: S101  (this server has no other)
        stream = connection.stream
        stream.set_nodelay(True)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")  # or a proxy would buffer the events
        self.write(OPENING)
        await self.flush()
        services = self.services
        self.client = client = SseClient(
            connection.write, stream.close, services.options, named=len(usernames) > 1
        )
        with services.hub.following(usernames, client):
            await client.ended.wait()

    def on_connection_close(self) -> None:
        """End the stream."""
        super().on_connection_close()
        if self.client is not None:
            self.client.end()


class HealthHandler(Handler):
    """`/healthz`: whether a listener is at work, in whatever process."""

    async def get(self) -> None:
        """Answer 200 while any listener has given a sign of life lately, and 503 otherwise.

        A `warning` says that streams only poll, because Redis refuses this account's SUBSCRIBE.
        """
        hub, options = self.services.hub, self.services.options
        try:
            age = await self.services.reader.heartbeat_age()
        except redis.RedisError as error:
            self.fail_with("Redis", error)
            return
        facts: dict[str, Any] = {"heartbeat_age": age, "streams": hub.streams}
        if hub.refused:
            facts["warning"] = POLLING.format(options.poll_interval)
        if age is not None and age <= options.listener_timeout:
            self.answer({"status": "ok", **facts})
        else:
            words = "No listener is at work, so the cache does not follow the database: start one."
            self.answer({"status": "stale", **facts, "error": words}, 503)

    head = get


class PageHandler(Handler):
    """The page: HTML, CSS, one script and an icon."""

    def get(self, name: str) -> None:
        """Send the file."""
        file, kind = PAGE[name]
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", "no-cache")
        self.finish((files("reactive_demo.tutorial.web") / "page" / file).read_bytes())

    head = get


class NothingHandler(Handler):
    """Any other address."""

    def prepare(self) -> None:
        """Answer 404, whatever the method."""
        self.fail(404, "There is nothing at this address.")


ROUTES = (
    (r"/v1/profile/([^/]*)", ProfileHandler),
    (r"/stream", StreamHandler),
    (r"/healthz", HealthHandler),
    (rf"/({'|'.join(PAGE)})", PageHandler),
    (r".*", NothingHandler),
)
