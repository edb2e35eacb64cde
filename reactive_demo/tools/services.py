"""What is behind `reactive-demo listen`, `resync` and `uninstall`."""

import logging
import math
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
import redis

from reactive_demo.changes import State, into_batches
from reactive_demo.errors import ReactiveDemoError, UnavailableError
from reactive_demo.feeds.installed import CHANGE_TABLE, InstalledFeed, installed
from reactive_demo.listener.listener import Listener
from reactive_demo.options import Options
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.client import connect_redis
from reactive_demo.redis_cache.keys import quarantine_key, row_key
from reactive_demo.redis_cache.store import open_store, reading
from reactive_demo.tools.rights import missing_rights

__all__ = ["cache_keys", "ended_by_signal", "kind_installed", "listen", "remove_cache", "resync"]

log = logging.getLogger(__name__)

SCANNED_AT_ONCE = 500
"""Keys."""


def listen(
    database_url: str,
    redis_url: str,
    table: str,
    *,
    feed: str | None = None,
    options: Options | None = None,
) -> None:
    """Run a listener for `table` until SIGTERM or SIGINT, and log its state when that changes.

    Raises the error that ends the listener.
    """
    ended = ended_by_signal()

    told = StatusReport(lambda text: log.info("%s: %s", table, text))

    def follow_status(text: str) -> None:
        told(text)
        if text.startswith(State.STOPPED):
            ended.set()

    with suppress(ReactiveDemoError, psycopg.Error, redis.RedisError):  # the listener tries again
        if missing := missing_rights(database_url, redis_url, table, feed):
            log.warning("%s: %s", table, missing)
    source = InstalledFeed(database_url, table, feed=feed, options=options)
    with Listener(source, Cache(redis_url, table)) as listener:
        listener.observe(follow_status)
        ended.wait()


def kind_installed(database_url: str, table: str) -> str:
    """Return the kind of feed that `table` is installed for; else the one for any server."""
    with open_postgres(database_url, "look up") as connection:
        return (installed(connection, table) or [CHANGE_TABLE])[0]


def resync(
    database_url: str,
    redis_url: str,
    table: str,
    timeout: float = 3600,
    *,
    feed: str | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> int:
    """Fill the cache of `table` again; return how many rows it holds then.

    The leader fills it; without one, a listener runs until it is done. It follows this database
    even if the cache followed another one, or a later timeline. `report` is given its status, at
    each change.

    Raises what opening the feed raises, and the cache is then left as it is: NotCapturedError if
    the table is not captured. Raises UnavailableError after `timeout` seconds, and the error that
    ends the listener.
    """
    cache = Cache(redis_url, table)
    source = InstalledFeed(database_url, table, feed=feed)
    with source.open():  # a listener would try again, for as long as nobody installs it
        cache.forget_cursor()
    with Listener(source, cache, whatever_database=True) as listener:
        listener.observe(StatusReport(report))
        deadline = time.monotonic() + timeout
        while not cache.has_cursor():
            listener.check()
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"The cache was not filled within {timeout:g} s: see the log of the leader."
                )
            time.sleep(0.05)
    return sum(1 for _ in cache.scan())


def cache_keys(redis_url: str, table: str) -> list[str]:
    """Return the Redis keys of the caches of `table`, under each name that it may be called by."""
    bare = table.removeprefix("public.")
    found: list[str] = []
    for name in {table, bare, f"public.{bare}"} if "." not in bare else {table}:
        store = open_store(redis_url, name, 0)
        with store.client as client:
            names = (row_key(name, key) for key in store.scan())
            for keys in into_batches(names, SCANNED_AT_ONCE):
                with reading(client) as batch:
                    for key in keys:
                        batch.type(key)
                    kinds = batch.execute()
                found += [key for key, kind in zip(keys, kinds, strict=True) if kind == "hash"]
            own = [*store.bookkeeping(), quarantine_key(name)]
            found += [key for key in own if client.exists(key)]
    return found


def remove_cache(redis_url: str, table: str) -> int:
    """Delete these keys; return how many there were."""
    keys = cache_keys(redis_url, table)
    with connect_redis(redis_url) as client:
        for some in into_batches(keys, SCANNED_AT_ONCE):
            with reading(client) as batch:
                for key in some:
                    batch.unlink(key)
                batch.execute()
    return len(keys)


class StatusReport:
    """Passes on the status of a listener: how a fill comes along, no more than once a second."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._quiet_until = -math.inf

    def __call__(self, text: str) -> None:
        """Pass on `text`, unless it is progress and the last was a moment ago."""
        if text.startswith(State.CATCHING_UP):
            if time.monotonic() < self._quiet_until:
                return
            self._quiet_until = time.monotonic() + 1
        self._say(text)


class EndEvent:
    """Is set by SIGTERM and SIGINT, and by `set` in any thread; one for a process.

    It is no `threading.Event`. A handler runs in the main thread, and would wait for ever for a
    lock that this thread holds just then; and a signal that comes just before the main thread waits
    for a lock is handled after the wait. So a signal is a byte in a socket, put there before any
    handler runs.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def set(self) -> None:
        """Set it."""
        with suppress(BlockingIOError):  # there is a byte already
            self._writer.send(b"\0")

    def wait(self) -> None:
        """Wait until it is set."""
        self._reader.recv(1, socket.MSG_PEEK)


def ended_by_signal() -> EndEvent:
    """Log to the error stream from now on; return an event that SIGTERM and SIGINT set."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return EndEvent()
