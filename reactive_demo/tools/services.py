"""The services of the command line: they run in the foreground until they are told to stop."""

import logging
import signal
import threading
import time

from reactive_demo.changes import State
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.options import Options
from reactive_demo.redis_cache.cache import Cache

__all__ = ["ended_by_signal", "listen", "resync"]

log = logging.getLogger(__name__)


def listen(
    database_url: str, redis_url: str, table: str, *, options: Options | None = None
) -> None:
    """Follow `table` until SIGTERM or SIGINT, and log each change of state.

    Raises what ended the listener, if anything did.
    """
    ended = ended_by_signal()

    def told(words: str) -> None:
        log.info("%s: %s", table, words)
        if words.startswith(State.STOPPED):
            ended.set()

    feed = ChangeTableFeed(database_url, table, options=options)
    with Listener(feed, Cache(redis_url, table)) as listener:
        listener.observe(told)
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


def ended_by_signal() -> threading.Event:
    """Log to the error stream from now on; an event that SIGTERM and SIGINT set."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended
