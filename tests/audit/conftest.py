"""What the tests of the meter share."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from reactive_demo import Cache, ChangeTableFeed, Listener
from tools.waiting import until

Listen = Callable[..., Listener]


@pytest.fixture
def database(captured_database: str) -> str:
    """A database with capture on `profile`, and five profiles."""
    with psycopg.connect(captured_database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO profile SELECT 'user ' || n, n FROM generate_series(1, 5) n"
        )
    return captured_database


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Start listeners that end with the test, and wait until their cache is filled."""
    started: list[Listener] = []

    def listen(database_url: str, cache: Cache, table: str | None = None) -> Listener:
        feed = ChangeTableFeed(database_url, table or cache.table)
        started.append(Listener(feed, cache).start())
        until("the cache is filled", cache.has_cursor)
        started[-1].wait_until("live")
        return started[-1]

    yield listen
    for listener in started:
        listener.stop()
