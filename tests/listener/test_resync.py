"""`resync` fills a cache again, says how far it is, and says at once why it cannot."""

import pytest

from reactive_demo import Cache, Profiles, install, uninstall
from reactive_demo.changes import Change
from reactive_demo.errors import NotCapturedError
from reactive_demo.tools import services
from reactive_demo.tools.services import StatusReport, resync
from tools.agreement import agree, cached
from tools.durable import BOTH, Durable


@pytest.fixture(params=BOTH)
def durable(request: pytest.FixtureRequest) -> Durable:
    """Both ways, one after the other."""
    return request.param


@pytest.fixture
def ada(database: str, durable: Durable) -> None:
    """A table with one row, captured."""
    durable.install(database)
    with Profiles(database) as profiles:
        profiles.increment("ada", "likes")


@pytest.mark.usefixtures("ada")
def test_it_removes_what_is_no_row_and_says_what_it_does(database: str, cache: Cache) -> None:
    cache.put([Change("ghost", {"username": "ghost"})])
    said: list[str] = []
    assert resync(database, cache.redis_url, "profile", report=said.append) == 1
    agree(database, cache)
    assert any(text.startswith("catching up") for text in said)


@pytest.mark.usefixtures("ada")
def test_without_capture_it_says_so_at_once_and_the_cache_stays(
    database: str, cache: Cache, durable: Durable
) -> None:
    resync(database, cache.redis_url, "profile")
    uninstall(database)
    with pytest.raises(NotCapturedError, match="install"):
        resync(database, cache.redis_url, "profile")
    assert set(cached(cache)) == {"ada"}
    assert cache.has_cursor()
    install(database, feed=durable.feed.kind)
    assert resync(database, cache.redis_url, "profile") == 1


def test_progress_is_told_once_a_second_and_each_state(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    report = StatusReport(said.append)
    for millisecond in range(0, 2500, 10):
        monkeypatch.setattr(services.time, "monotonic", lambda now=millisecond / 1000: now)
        report(f"catching up: {millisecond}")
    report("live")
    report("catching up: again")
    assert said == ["catching up: 0", "catching up: 1000", "catching up: 2000", "live"]
