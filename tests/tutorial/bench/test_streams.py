"""Many viewers: each ends on the last value. How fast is measured, not asserted."""

from collections.abc import Iterator

import pytest

from reactive_demo import Stack
from reactive_demo.tutorial.bench.streams import Crowd, Server, measure
from reactive_demo.tutorial.web.serve import allow_many_files
from tools.web import update


@pytest.fixture
def server(database_url: str, stack: Stack) -> Iterator[Server]:
    allow_many_files()
    with Server.start(database_url, stack.redis_url) as running:
        yield running


@pytest.mark.long
def test_500_viewers_are_told_of_each_of_10_updates(server: Server) -> None:
    figures = measure(server, 500, 10, idle=1.0)
    assert figures["events"] == 500 * 10


@pytest.mark.long
def test_2000_viewers_connect_and_stay_and_all_are_told(server: Server) -> None:
    with Crowd(server.port, "many", 2000) as crowd:
        first = int(update(server.port, "many"))
        assert len(crowd.wait(first)) == 2000
        for _ in range(20):
            last = int(update(server.port, "many"))
        assert len(crowd.wait(last)) == 2000
        assert set(crowd.seen.values()) == {last}


@pytest.mark.long
def test_a_thousand_names_are_followed_at_once(server: Server) -> None:
    with Crowd(server.port, "other", 1) as other:
        crowds = [Crowd(server.port, f"name{number}", 1) for number in range(1000)]
        versions = [int(update(server.port, f"name{number}")) for number in range(1000)]
        for crowd, version in zip(crowds, versions, strict=True):
            crowd.wait(version)
            crowd.close()
        assert set(other.seen.values()) == {0}
