"""The app: a server in a thread, on loopback.

with ProfileApp(stack.database_url, stack.redis_url) as app:
    print(app.url)
"""

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
from reactive_demo.tutorial.web.handlers import ROUTES, Services
from reactive_demo.tutorial.web.hub import Hub
from reactive_demo.tutorial.web.reader import Reader
from reactive_demo.tutorial.web.writers import Writers

__all__ = ["ProfileApp"]

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait to be accepted."""

LONGEST_BODY = 65_536
"""Bytes: no request needs one."""

GRACE = 2.0
"""Seconds in which requests may end when the server stops."""


class ProfileApp:
    """The profile app. It carries no change to the cache: somewhere a listener must run.

    Port 0 takes any that is free. `hosts` are names under which it is reached beside those of
    loopback, as through a proxy. It ends with `stop()`, or with the process.
    """

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        *,
        port: int = 0,
        address: str = "127.0.0.1",
        hosts: Collection[str] = (),
    ) -> None:
        self.port = port
        self.address = address
        self._database_url = database_url
        self._redis_url = redis_url
        self._hosts = {host.lower() for host in hosts}
        self._stop: Callable[[], object] = _nothing
        self._thread = threading.Thread()
        self._error: Exception | None = None

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/"

    def start(self) -> Self:
        """Start, or start again on the same port.

        Raises ReactiveDemoError if the port cannot be had.
        """
        try:
            sockets = bind_sockets(self.port, self.address, backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            raise ReactiveDemoError(
                f"Port {self.port} at {self.address} cannot be used ({error}): end the program "
                "that has it, or choose another port; 0 is any that is free."
            ) from None
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
        """Stop: let streams and requests end, within 2 s. Safe to call twice."""
        self._stop()
        if self._thread.ident is not None:
            self._thread.join(2 * GRACE)
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
        reader, writers = Reader(self._redis_url), Writers(self._database_url)
        audience = Hub(reader)
        services = Services(writers.increment, audience, reader, self._hosts)
        server = HTTPServer(
            Application(
                [(pattern, handler, {"services": services}) for pattern, handler in ROUTES],
                log_function=_nothing,
            ),
            max_body_size=LONGEST_BODY,
        )
        tasks = [asyncio.create_task(work) for work in (audience.run(), audience.beat())]
        server.add_sockets(sockets)
        ready.set()
        await stopping.wait()
        server.stop()
        audience.end_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await services.quiet.wait()
        await server.close_all_connections()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writers.close()
        await reader.close()


def _nothing(*_: object) -> None:
    """Do nothing."""
