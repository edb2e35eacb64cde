"""A listener, or the app, as a service: in the foreground, until it is told to stop."""

import logging
import os
import signal
import threading
import time
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext

from reactive_demo import schema
from reactive_demo.cache import Cache
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener import Listener
from reactive_demo.state import State
from reactive_demo.web import ProfileApp

__all__ = ["allow_many_files", "listen", "resync", "serve"]

log = logging.getLogger(__name__)


def listen(database_url: str, redis_url: str, table: str) -> None:
    """Follow `table` until SIGTERM or SIGINT, and log each change of state.

    Raises what ended the listener, if anything did.
    """
    ended = _end_by_signal()

    def told(words: str) -> None:
        log.info("%s: %s", table, words)
        if words.startswith(State.STOPPED):
            ended.set()

    with Listener(ChangeTableFeed(database_url, table), Cache(redis_url, table)) as listener:
        listener.observe(told)
        ended.wait()


def serve(
    database_url: str,
    redis_url: str,
    *,
    port: int,
    address: str,
    hosts: Collection[str],
    listening: bool,
) -> None:
    """Run the profile app until SIGTERM or SIGINT; with `listening`, a listener beside it.

    The table `profile` is captured first. Raises ReactiveDemoError if the port is taken.
    """
    ended = _end_by_signal()
    allow_many_files()
    schema.install(database_url)
    app = ProfileApp(database_url, redis_url, port=port, address=address, hosts=hosts)
    listener: AbstractContextManager[object] = nullcontext()
    if listening:
        listener = Listener(ChangeTableFeed(database_url), Cache(redis_url))
    with app, listener:
        print(f"The profile app is at {app.url}", flush=True)  # noqa: T201  (who started it asks)
        ended.wait()


def resync(database_url: str, redis_url: str, table: str, timeout: float = 3600) -> int:
    """Fill the cache of `table` again; how many rows it holds then.

    The listener that leads does it; if none does, one is run for as long as it takes.
    """
    cache = Cache(redis_url, table)
    cache.forget_cursor()
    with Listener(ChangeTableFeed(database_url, table), cache) as listener:
        deadline = time.monotonic() + timeout
        while not cache.has_cursor():
            listener.check()
            if time.monotonic() > deadline:
                raise ReactiveDemoError(f"The cache was not filled within {timeout:g} s.")
            time.sleep(0.05)
    return sum(1 for _ in cache.scan())


def _end_by_signal() -> threading.Event:
    """Log to the error stream from now on; an event that SIGTERM and SIGINT set."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended


def allow_many_files() -> None:
    """Raise this process's limit of open files as far as it may: each viewer needs one."""
    if os.name == "posix":
        import resource  # noqa: PLC0415  (Windows has no such limit)

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
