"""A proxy between a client and a server that can delay, cut and count what passes.

    with FaultProxy.to_postgres(stack.database_url) as wire:
        profiles = Profiles(wire.url)
        wire.delay = 0.005  # each round trip takes 5 ms longer
        wire.cut()

It passes bytes on unchanged and in order, without interpreting them, so pipelining, COPY and TLS
work. It listens as its server does, on a Unix socket or on a TCP port of loopback, and runs in a
thread of its own.
"""

import asyncio
import selectors
import tempfile
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Self

from reactive_demo.tutorial.addresses import (
    Address,
    postgres_address,
    postgres_url,
    redis_address,
    redis_url_at,
)

__all__ = ["FaultProxy"]

CHUNK = 65536
"""Bytes read at once."""

MAX_CHUNKS = 256
"""Chunks under way in each direction before the sender has to wait."""


class FaultProxy:
    """A proxy to the server at an address; safe to use from any thread, ends with `close()`.

    `url_at` returns the URL for an address. With `tcp` the proxy listens on TCP in any case.
    """

    delay: float = 0.0
    """Seconds added to each round trip, half in each direction; a new value applies to what is sent
    from then on."""
    connections: int = 0
    """Connections accepted so far."""
    round_trips: int = 0
    """Round trips so far: whatever a client sends before it hears an answer counts as one, however
    many commands that is."""

    def __init__(
        self, server: Address, url_at: Callable[[Address], str], *, tcp: bool = False
    ) -> None:
        self._server = server
        self._folder = tempfile.TemporaryDirectory(prefix="rd-")  # only we may enter
        tcp = tcp or not isinstance(server, str)
        self._door: Address = ("127.0.0.1", 0) if tcp else f"{self._folder.name}/.s.PGSQL.5432"
        self._lines: set[asyncio.Task[None]] = set()
        self._flowing = _set_event()
        # select() can wait for microseconds; epoll rounds each wait up to a millisecond.
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="reactive_demo proxy", daemon=True
        )
        self._thread.start()
        self._call(self._listen())
        self.url = url_at(self._door)
        """What to give to the client in place of the server's URL."""

    @classmethod
    def to_postgres(cls, database_url: str, *, tcp: bool = False) -> Self:
        """Return a proxy to that PostgreSQL; raise UnavailableError if it does not answer now."""
        return cls(
            postgres_address(database_url), lambda door: postgres_url(database_url, door), tcp=tcp
        )

    @classmethod
    def to_redis(cls, redis_url: str, *, tcp: bool = False) -> Self:
        """Return a proxy to that Redis."""
        return cls(redis_address(redis_url), lambda door: redis_url_at(redis_url, door), tcp=tcp)

    def cut(self) -> None:
        """Close all connections, and refuse new ones until `restore()`."""
        self._call(self._cut())

    def blackhole(self) -> None:
        """Hold everything back until `restore()`, but close nothing."""
        self._call(self._blackhole())

    def forget(self) -> None:
        """Hold the present connections back for ever, as a firewall may; new ones work."""
        self._call(self._forget())

    def restore(self) -> None:
        """Accept connections again, and deliver what `blackhole()` held back."""
        self._call(self._restore())

    def close(self) -> None:
        """Close everything, and end the thread."""
        if not self._loop.is_closed():
            self._call(self._cut())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._loop.close()
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"FaultProxy({1000 * self.delay:g} ms, {self.round_trips} round trips)"

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the thread, and wait until it is done."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    # In the thread

    async def _listen(self) -> None:
        if isinstance(self._door, str):
            self._listening = await asyncio.start_unix_server(self._admit, self._door, backlog=1024)
        else:
            self._listening = await asyncio.start_server(self._admit, *self._door, backlog=1024)
            self._door = self._listening.sockets[0].getsockname()[:2]

    async def _cut(self) -> None:
        self._listening.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _blackhole(self) -> None:
        self._flowing.clear()

    async def _forget(self) -> None:
        self._flowing.clear()
        self._flowing = _set_event()

    async def _restore(self) -> None:
        self._flowing.set()
        if not self._listening.is_serving():
            await self._listen()

    def _admit(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        self.connections += 1
        line = self._loop.create_task(self._carry(client, answers))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)

    async def _carry(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        """Carry one connection until it ends."""
        flowing, waiting = self._flowing, False
        ends = [answers]

        def asked() -> None:
            nonlocal waiting
            if not waiting:
                waiting = True
                self.round_trips += 1

        def answered() -> None:
            nonlocal waiting
            waiting = False

        try:
            server, requests = await _open(self._server)
            ends.append(requests)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pipe(client, requests, flowing, sent=asked))
                directions.create_task(self._pipe(server, answers, flowing, delivered=answered))
        except* OSError:
            pass  # one end is gone; `finally` closes the other
        except* asyncio.CancelledError:
            for end in ends:
                end.transport.abort()
        finally:
            for end in ends:
                end.close()

    async def _pipe(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        flowing: asyncio.Event,
        *,
        sent: Callable[[], None] = lambda: None,
        delivered: Callable[[], None] = lambda: None,
    ) -> None:
        """Pass on what `source` sends to `sink`, each chunk when it is due, and then the end."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MAX_CHUNKS)

        async def take() -> None:
            data = b" "
            while data:
                data = b""
                with suppress(OSError):  # a reset counts as the end
                    data = await source.read(CHUNK)
                if data:
                    sent()
                await under_way.put((self._loop.time() + self.delay / 2, data))

        taking = asyncio.create_task(take())
        try:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - self._loop.time())
                await flowing.wait()
                if not data:
                    break
                delivered()
                sink.write(data)
                await sink.drain()
            sink.write_eof()
        finally:
            taking.cancel()


async def _open(server: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(server, str):
        return await asyncio.open_unix_connection(server)
    return await asyncio.open_connection(*server)


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event
