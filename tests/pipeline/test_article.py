"""The article's whole way: whatever is written, the cache comes to hold what the database holds."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactive_demo import Cache, Listener, NotifyFeed, Profiles
from reactive_demo.app.profiles import COUNTERS
from tools.agreement import cache_follows

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
writes = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([*COUNTERS, "delete"])), min_size=1, max_size=12
)


@pytest.fixture
def database(article_database: str) -> str:
    """With the article's trigger."""
    return article_database


@pytest.fixture
def pipeline(
    database: str, profiles: Profiles, cache: Cache, listen: Callable[..., Listener]
) -> Iterator[tuple[Profiles, Cache]]:
    listener = listen(NotifyFeed(database), cache)
    yield profiles, cache
    listener.check()
    assert listener.stats.undecodable == 0


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(users=st.lists(names, min_size=3, max_size=3, unique=True), history=writes)
def test_whatever_is_written_the_cache_comes_to_hold_it(
    pipeline: tuple[Profiles, Cache], users: list[str], history: list[tuple[int, str]]
) -> None:
    profiles, cache = pipeline
    fresh = uuid.uuid4().hex  # no name of an example before
    for user, what in history:
        name = f"{users[user]}{fresh}"
        if what == "delete":
            profiles.delete(name)
        else:
            profiles.increment(name, what)
    for user in users:
        cache_follows(profiles, cache, f"{user}{fresh}")
