"""The feed that reads PostgreSQL's log: nothing is lost, whatever happens to whom."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from reactive_demo import Cache, Listener, LogFeed, Profiles, install, uninstall
from tools.agreement import Traffic, agree

Listen = Callable[..., Listener]

SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"


@pytest.fixture
def database(empty_database: str) -> Iterator[str]:
    install(empty_database, feed="log")
    yield empty_database
    uninstall(empty_database)


def test_it_follows_what_is_written(
    database: str, cache: Cache, profiles: Profiles, listen: Listen
) -> None:
    profiles.increment("ada", "likes")
    listener = listen(LogFeed(database), cache)
    agree(database, cache)
    with Traffic(database) as traffic:
        traffic.flow(500)
    agree(database, cache)
    assert listener.stats.reconnects == 0
