"""A wire that one can lengthen, cut and count: a relay between a client and a server.

    with FaultProxy.to_postgres(stack.database_url) as wire:
        profiles = Profiles(wire.url)
        wire.delay = 0.005  # a round trip takes 5 ms longer
        wire.cut()

It passes bytes on as they are, in order, and knows nothing of what they say: pipelining, COPY and
TLS go through. It listens as its server does, on a Unix socket or on a TCP port of the loopback,
and works in a thread of its own.
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
UNDER_WAY = 256
"""Chunks on the wire, each way, before the sender has to wait."""


class FaultProxy:
    """A wire to the server at an address. Safe to use from any thread; ends with `close()`.

    With `tcp` it listens on TCP even if the server does not. `at` tells the URL for an address.
    """

    delay: float = 0.0
    """Seconds by which a round trip takes longer, half of it each way; for what is sent from now
    on, so it may be set at any time."""
    connections: int = 0
    """Connections made so far."""
    round_trips: int = 0
    """How often a client has spoken and then waited: what it sends before it hears anything counts
    as one, however many commands that are."""

    def __init__(self, server: Address, at: Callable[[Address], str], *, tcp: bool = False) -> None:
        self._server = server
        self._folder = tempfile.TemporaryDirectory(prefix="rd-")  # as the servers': for us alone
        tcp = tcp or not isinstance(server, str)
        self._door: Address = ("127.0.0.1", 0) if tcp else f"{self._folder.name}/.s.PGSQL.5432"
        self._lines: set[asyncio.Task[None]] = set()
        self._flowing = _set_event()
        # select() waits for microseconds; epoll would make of each wait a whole millisecond.
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="reactive_demo relay", daemon=True
        )
        self._thread.start()
        self._call(self._listen())
        self.url = at(self._door)
        """What to give to the client, in place of the server's URL."""

    @classmethod
    def to_postgres(cls, database_url: str, *, tcp: bool = False) -> Self:
        """A wire to that PostgreSQL; raises ReactiveDemoError if it does not answer now."""
        return cls(
            postgres_address(database_url), lambda door: postgres_url(database_url, door), tcp=tcp
        )

    @classmethod
    def to_redis(cls, redis_url: str, *, tcp: bool = False) -> Self:
        """A wire to that Redis."""
        return cls(redis_address(redis_url), lambda door: redis_url_at(redis_url, door), tcp=tcp)

    def cut(self) -> None:
        """Close all connections, and refuse new ones until `mend()`."""
        self._call(self._cut())

    def blackhole(self) -> None:
        """Let the wire go dead: nothing is closed, and nothing arrives until `mend()`."""
        self._call(self._blackhole())

    def forget(self) -> None:
        """Let the connections there are go dead for ever, as a firewall may; new ones work."""
        self._call(self._forget())

    def restore(self) -> None:
        """Let new connections in, and what was held back by `silence()` arrive."""
        self._call(self._restore())

    def close(self) -> None:
        """Close all connections for good, and end the thread."""
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

    def _call(self, doing: Coroutine[Any, Any, None]) -> None:
        """Have the thread do something, and wait until it is done."""
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(5)

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
        flowing, waits = self._flowing, False
        ends = [answers]

        def asked() -> None:
            nonlocal waits
            if not waits:
                waits = True
                self.round_trips += 1

        def answered() -> None:
            nonlocal waits
            waits = False

        try:
            server, requests = await _open(self._server)
            ends.append(requests)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._way(client, requests, flowing, sent=asked))
                ways.create_task(self._way(server, answers, flowing, heard=answered))
        except* OSError:
            pass  # either end is gone, and the other hears of it below
        except* asyncio.CancelledError:
            for end in ends:
                end.transport.abort()
        finally:
            for end in ends:
                end.close()

    async def _way(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        flowing: asyncio.Event,
        *,
        sent: Callable[[], None] = lambda: None,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring what `source` sends to `sink`, each chunk when it is due; the end too."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY)

        async def take() -> None:
            data = b" "
            while data:
                data = b""
                with suppress(OSError):  # one that was killed has ended too
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
                heard()
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
