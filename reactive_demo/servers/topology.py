"""More than one machine, on one: a PostgreSQL pair and a Redis Cluster, to be broken.

with Topology() as topology:
    install(topology.database_url)
    topology.postgres.primary.kill()
    topology.postgres.promote()
"""

import signal
import sys
import threading
from contextlib import ExitStack, suppress
from queue import Empty, SimpleQueue
from typing import Self

import psycopg
import redis

from reactive_demo.errors import ReactiveDemoError, in_a_sentence
from reactive_demo.servers.cluster import EmbeddedCluster
from reactive_demo.servers.pair import PostgresNode, PostgresPair

__all__ = ["Topology", "run"]


class Topology:
    """A primary and its standby, and three Redis primaries with a replica each.

    With `synchronous`, each commit waits for the standby. All of it is gone after `stop()`.
    """

    def __init__(self, *, synchronous: bool = False) -> None:
        self.postgres = PostgresPair(synchronous=synchronous)
        self.redis = EmbeddedCluster(self.postgres.folder / "redis")

    @property
    def database_url(self) -> str:
        """What DATABASE_URL is to be."""
        return self.postgres.database_url

    @property
    def redis_url(self) -> str:
        """What REDIS_URL is to be."""
        return self.redis.url

    def start(self) -> Self:
        """Start all servers; if one fails, stop the others."""
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            self.postgres.start()
            self.redis.start()
            on_failure.pop_all()
        return self

    def stop(self) -> None:
        """Stop all servers and remove their data; calling it twice is harmless."""
        self.redis.stop()
        self.postgres.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


HELP = "enter kill, promote, start or follow for PostgreSQL; kill redis or start redis"


def run(*, synchronous: bool = False) -> None:
    """Run a topology, and do what is entered, until SIGTERM or SIGINT."""
    entered: SimpleQueue[str | None] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: entered.put(None))
    with Topology(synchronous=synchronous) as topology:
        _say(f"export DATABASE_URL='{topology.database_url}'")
        _say(f"export REDIS_URL='{topology.redis_url}'")
        threading.Thread(target=_read, args=[entered], daemon=True).start()
        if sys.stdin is not None and sys.stdin.isatty():
            _say(f"# {HELP}; Ctrl-C stops all")
        while (words := _next(entered)) is not None:
            try:
                _say(f"# {_do(topology, words)}")
            except (ReactiveDemoError, psycopg.Error, redis.RedisError) as error:
                _say(f"# {in_a_sentence(error)}")


def _do(topology: Topology, words: str) -> str:
    """Do what was entered; return what came of it, in words."""
    pair, cluster = topology.postgres, topology.redis
    match words.split():
        case ["kill"]:
            pair.primary.kill()
        case ["promote"]:
            pair.promote()
        case ["start"]:
            pair.standby.start()
        case ["follow"]:
            pair.follow()
        case ["kill", "redis"]:
            primary = cluster.primaries[0]
            primary.kill()
            cluster.await_promotion(primary)
            return f"{primary.address} is down, and its replica has taken over"
        case ["start", "redis"]:
            lost = [node for node in cluster.nodes if not node.runs]
            for node in lost:
                node.start()
            return f"{len(lost)} of {len(cluster.nodes)} started again"
        case _:
            return HELP
    return "; ".join(f"{node.name} {_state(pair, node)}" for node in pair.nodes)


def _state(pair: PostgresPair, node: PostgresNode) -> str:
    if not node.is_running:
        return "is down"
    if not node.is_writable:
        return "is the standby"
    return "is the primary" if node is pair.primary else "is a former primary that takes writes"


def _next(entered: "SimpleQueue[str | None]") -> str | None:
    """Wait for a line, and for a signal, which a wait without a time-out would not let in."""
    while True:
        with suppress(Empty):
            return entered.get(timeout=0.2)


def _read(entered: "SimpleQueue[str | None]") -> None:
    for line in sys.stdin or ():
        if words := line.strip():
            entered.put(words)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (a command line prints)
