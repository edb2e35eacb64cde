"""The consumer or listener that follows a table while it is measured, in a process of its own.

So it is in use; in the process that measures, it would wait for the interpreter's lock. It says
`live` once it is, and ends when its standard input does.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.feeds import ChangeTableFeed, Feed, LogFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tutorial.bench.article import consume
from reactive_demo.tutorial.bench.debezium import DEBEZIUM, engine_running, is_installed
from reactive_demo.tutorial.bench.places import Places

__all__ = ["ARTICLE", "DURABLE", "PEERS", "PIPELINES", "following"]

ARTICLE = "the article's"
FEEDS: dict[str, Callable[[str, str], Feed]] = {
    "the change table": ChangeTableFeed,
    "the log": LogFeed,
}
DURABLE = tuple(FEEDS)
PIPELINES = (ARTICLE, *DURABLE)
"""The article's consumer, the baseline, and our listeners by what they read."""
PEERS = (DEBEZIUM,) if is_installed() else ()
"""What others have made, if it can be measured here."""

LIVE = "live"

FOLLOW = f"import sys; from {__name__} import main; main(*sys.argv[1:])"
"""What its process runs. (`-m` would warn that importing the benchmark has imported this too.)"""


@contextmanager
def following(places: Places, pipeline: str, table: str = "profile") -> Iterator[int]:
    """Have `pipeline` follow the table; yield its process once it has caught up."""
    cache = places.cache if table == "profile" else places.large_cache
    words = (pipeline, places.database_url, cache.redis_url, cache.table, table)
    process = subprocess.Popen(
        [sys.executable, "-c", FOLLOW, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is None or process.stdout.readline().strip() != LIVE:
            raise ReactiveDemoError(f"The process that follows by {pipeline} ended.")
        yield process.pid
    finally:
        process.communicate("")


def main(pipeline: str, database_url: str, redis_url: str, cache: str, table: str) -> None:
    """Follow until standard input ends."""
    if pipeline == ARTICLE:
        ready, ended = threading.Event(), threading.Event()
        follower = threading.Thread(
            target=consume, args=(database_url, Cache(redis_url, cache), ready, ended)
        )
        follower.start()
        ready.wait()
        print(LIVE, flush=True)
        sys.stdin.read()
        ended.set()
        follower.join()
        return
    if pipeline == DEBEZIUM:
        with (
            os.fdopen(os.dup(1), "w") as output,
            engine_running(database_url, Cache(redis_url, cache)),
        ):
            print(LIVE, file=output, flush=True)
            sys.stdin.read()
        return
    with Listener(FEEDS[pipeline](database_url, table), Cache(redis_url, cache)) as listener:
        listener.wait_until(LIVE, 600)
        print(LIVE, flush=True)
        sys.stdin.read()
