"""What the tutorial's tests share: the article's database and its listeners."""

from collections.abc import Callable, Iterator

import pytest

from reactive_demo import Cache, Listener, NotifyFeed, Profiles
from reactive_demo.tutorial.chapter_setup import install_article

Listen = Callable[..., Listener]


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
