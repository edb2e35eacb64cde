"""The app: an HTTP server in a thread, on loopback."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Self

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.tutorial.jupyter_hub import service_prefix
from reactive_demo.tutorial.web.handlers import ROUTES, Services
from reactive_demo.tutorial.web.hub import Hub
from reactive_demo.tutorial.web.options import WebOptions
from reactive_demo.tutorial.web.origin_guard import ANY_NAME
from reactive_demo.tutorial.web.reader import Reader
from reactive_demo.tutorial.web.writers import Writers

__all__ = ["ProfileApp"]

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait to be accepted."""

MAX_BODY = 65_536
"""Bytes; no request needs a body."""


class ProfileApp:
    """The profile app. It writes no change to the cache; a listener must run somewhere.

    Port 0 stands for any free one. `hosts` are further names that the app answers to, as behind a
    proxy; those of loopback it always does. It ends with `stop()`, or with the process.
    """

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        *,
        port: int = 0,
        address: str = "127.0.0.1",
        hosts: Collection[str] = (),
        options: WebOptions | None = None,
    ) -> None:
        self.port = port
        self.address = address
        self._database_url = database_url
        self._redis_url = redis_url
        self._hosts = {host.lower() for host in hosts}
        if service_prefix():  # a browser reaches this loopback through the hub's proxy alone
            self._hosts.add(ANY_NAME)
        self._options = options or WebOptions()
        self._stop: Callable[[], object] = _nothing
        self._thread = threading.Thread()
        self._error: Exception | None = None

    @property
    def url(self) -> str:
        """The address of the page."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/"

    def start(self) -> Self:
        """Start, or start again on the same port; return the app itself.

        Raises ReactiveDemoError if the port cannot be used.
        """
        try:
            sockets = bind_sockets(self.port, self.address, backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            raise ReactiveDemoError(
                f"Port {self.port} at {self.address} cannot be used ({error}): stop the program "
                "that uses it, or choose another port; 0 is any free one."
            ) from None
        for one in sockets:
            _notice_lost_peers(one, self._options.peer_timeout)
        self.port = sockets[0].getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(sockets, ready), name="reactive_demo serve", daemon=True
        )
        self._thread.start()
        ready.wait()
        self.check()
        return self

    def check(self) -> None:
        """Raise what ended the server, if anything did."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the streams and let requests finish, within 2 s; safe to call twice."""
        self._stop()
        if self._thread.ident is not None:
            self._thread.join(2 * self._options.shutdown_timeout)
        self.check()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return "ProfileApp(running)" if self._thread.is_alive() else "ProfileApp(stopped)"

    # The thread

    def _run(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(sockets, ready))
        except Exception as error:
            log.exception("the app ended")
            self._error = error
        finally:
            self._stop = _nothing
            ready.set()

    async def _serve(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        self._stop = partial(loop.call_soon_threadsafe, stopping.set)
        reader, writers = Reader(self._redis_url), Writers(self._database_url, self._options)
        hub = Hub(reader, self._options)
        services = Services(writers.increment, hub, reader, self._options, self._hosts)
        server = HTTPServer(
            Application(
                [(pattern, handler, {"services": services}) for pattern, handler in ROUTES],
                log_function=_nothing,
            ),
            max_body_size=MAX_BODY,
            idle_connection_timeout=self._options.header_timeout,
            body_timeout=self._options.body_timeout,
        )
        tasks = [asyncio.create_task(duty) for duty in hub.duties()]
        server.add_sockets(sockets)
        ready.set()
        await stopping.wait()
        server.stop()
        hub.end_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.shutdown_timeout):
                await services.idle.wait()
        await server.close_all_connections()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writers.close()
        await reader.close()


def _notice_lost_peers(listening: socket.socket, seconds: float) -> None:
    """Have the kernel end a connection whose other end is gone without a word.

    What is accepted has the options of the socket that listens. Without them, the kernel takes a
    heartbeat after the other into its buffer and tries to deliver them for a quarter of an hour.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    part = max(1, round(seconds / 4))
    options = {
        "TCP_KEEPIDLE": part,
        "TCP_KEEPINTVL": part,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": round(1000 * seconds),
    }
    for name, value in options.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has all
            listening.setsockopt(socket.IPPROTO_TCP, option, value)


def _nothing(*_: object) -> None:
    """Do nothing."""
