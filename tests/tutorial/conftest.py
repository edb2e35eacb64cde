"""What the tutorial's tests share: the article's database, listeners, and a door to shut."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import psycopg
import pytest

from reactive_demo import Cache, Listener, NotifyFeed, Profiles
from reactive_demo.tutorial.chapter_setup import install_article

Listen = Callable[..., Listener]


class Door:
    """A path to the embedded PostgreSQL that can be shut and opened again."""

    def __init__(self, database_url: str, folder: Path) -> None:
        address, _, host = database_url.partition("?host=")
        self._servers = Path(unquote(host))
        self._link = folder / "door"
        self._direct_url = database_url
        self.url = f"{address}?host={quote(str(self._link), safe='')}"

    def open(self) -> None:
        self._link.symlink_to(self._servers)

    def shut(self) -> None:
        """Refuse new connections and terminate those there are."""
        self._link.unlink()
        with psycopg.connect(self._direct_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND application_name LIKE '%reactive_demo%'"
            )


@pytest.fixture
def database(database_url: str) -> str:
    """A database with the article's table, function and trigger."""
    install_article(database_url)
    return database_url


@pytest.fixture
def profiles(database: str) -> Iterator[Profiles]:
    with Profiles(database) as writes:
        yield writes


@pytest.fixture
def door(database: str, folder: Path) -> Door:
    """A way to the database that is shut at first."""
    return Door(database, folder)


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Start listeners that end with the test: `listen(database_url, cache)`."""
    started: list[Listener] = []

    def listen(
        database_url: str, cache: Cache, *, takeover: bool = False, state: str = "live"
    ) -> Listener:
        listener = Listener(NotifyFeed(database_url), cache, takeover=takeover)
        started.append(listener)
        listener.start().wait_until(state)
        return listener

    yield listen
    for listener in started:
        listener.stop()
