"""The machines of chapter 10, which take seconds to start: once for the tests that use them."""

from collections.abc import Iterator

import pytest

from reactive_demo import Cache, ChangeTableFeed, Listener, Profiles, install
from reactive_demo.tutorial.machines.machines import Machines


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """Both clusters, whole."""
    running = Machines().start()
    install(running.database_url)
    yield running
    running.close()


@pytest.fixture
def profiles(machines: Machines) -> Iterator[Profiles]:
    with Profiles(machines.database_url) as writes:
        yield writes


@pytest.fixture
def cache(machines: Machines) -> Iterator[Cache]:
    cache = Cache(machines.redis_url)
    yield cache
    cache.close()


@pytest.fixture
def listener(machines: Machines, cache: Cache) -> Iterator[Listener]:
    """A listener, live."""
    with Listener(ChangeTableFeed(machines.database_url), cache) as listener:
        listener.wait_until("live", 30)
        yield listener
