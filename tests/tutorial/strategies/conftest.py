"""What the tests of the strategies share: a bare table, an empty cache, and a writer to kill."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from reactive_demo import Stack, uninstall
from reactive_demo.app.profiles import Profiles
from reactive_demo.tutorial.chapter_setup import install_bare
from reactive_demo.tutorial.fault_proxy import FaultProxy
from reactive_demo.tutorial.strategies import Strategy
from tools.databases import new_database
from tools.waiting import until


class Wires:
    """A wire to each server, and what stands in both as seen from beside them."""

    def __init__(self, database_url: str, redis_url: str, stack: ExitStack) -> None:
        self.postgres = stack.enter_context(FaultProxy.to_postgres(database_url))
        self.redis = stack.enter_context(FaultProxy.to_redis(redis_url))
        self._profiles = stack.enter_context(Profiles(database_url))

    @property
    def urls(self) -> tuple[str, str]:
        return self.postgres.url, self.redis.url

    def stored(self, username: str = "ada") -> int:
        """The likes in the database."""
        row = self._profiles.get(username)
        return row["likes_count"] if row else 0


@pytest.fixture(scope="session")
def one_database(stack: Stack) -> Iterator[str]:
    """A database for all tests: making one for each would take longer than the tests."""
    with new_database(stack, "strategies") as url:
        yield url


@pytest.fixture
def database(one_database: str) -> str:
    """That database, with the bare table, empty."""
    uninstall(one_database)
    install_bare(one_database)
    with psycopg.connect(one_database, autocommit=True) as connection:
        connection.execute("TRUNCATE profile")
    return one_database


@pytest.fixture
def wires(database: str, valkey_url: str) -> Iterator[Wires]:
    with ExitStack() as stack:
        yield Wires(database, valkey_url, stack)


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    """Make strategies and consumers, and close them."""
    with ExitStack() as stack:

        def made(kind: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
            one = kind(*arguments, **options)
            stack.callback(one.close)
            return one

        yield made


WRITER = """
import json, sys
from reactive_demo.tutorial import strategies
kind, database_url, redis_url, options = sys.argv[1:]
strategy = getattr(strategies, kind)(database_url, redis_url, **json.loads(options))
strategy.write("ada", "likes")
print("ready", flush=True)
input()
strategy.write("ada", "likes")
print("done", flush=True)
"""


class Writer:
    """An app of its own that gives ada a like, and a second one when it is told to."""

    def __init__(self, kind: type[Strategy], wires: Wires, **options: Any) -> None:
        words = [sys.executable, "-c", WRITER, kind.__name__, *wires.urls, json.dumps(options)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout.readline() == "ready\n"

    def go(self) -> None:
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """As kill -9 does."""
        self._process.kill()
        assert self._process.communicate(timeout=10) == ("", None)


@pytest.fixture
def writer(wires: Wires) -> Iterator[Callable[..., Writer]]:
    """Start writers; none is left."""
    started: list[Writer] = []

    def start(kind: type[Strategy], **options: Any) -> Writer:
        started.append(Writer(kind, wires, **options))
        return started[-1]

    yield start
    for one in started:
        one._process.kill()
        one._process.wait(timeout=10)


def likes(strategy: Strategy, username: str = "ada") -> int:
    """What a reader is shown."""
    row = strategy.read(username)
    return row["likes_count"] if row else 0


def until_likes(strategy: Strategy, count: int) -> None:
    """Wait until a reader sees `count` likes: before the next step, not as a result."""
    until(f"a reader sees {count}", lambda: likes(strategy) == count)


def await_quiescence(
    strategy: Strategy, stored: Callable[[str], int] = lambda _: sys.maxsize
) -> None:
    """Wait until all that was written has arrived, in the database too if `stored` is given.

    Messages and changes arrive in order, so it has when a write made now has. To wait for the
    expected count itself would not show a write that counts twice: the count passes through it.
    """
    strategy.write("marker", "likes")
    until("the marker is in the database", lambda: stored("marker") >= 1)
    until("a reader sees the marker", lambda: likes(strategy, "marker") >= 1)


def waits_for_a_lock(database_url: str) -> bool:
    """Whether somebody waits for another one in this database."""
    with psycopg.connect(database_url) as connection:
        waiting = connection.execute(
            "SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(waiting.fetchall())
