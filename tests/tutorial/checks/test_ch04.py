"""The checks of the pipeline: each names the hop that did not happen, the first one broken."""

from collections.abc import Callable, Iterator

import ipywidgets
import psycopg
import pytest

from reactive_demo import (
    Cache,
    ChangeTableFeed,
    Listener,
    ProfileCard,
    Profiles,
    install,
    read_sql,
)
from reactive_demo.changes import Change
from reactive_demo.tutorial.checks import CheckFailed, patience
from reactive_demo.tutorial.checks import ch04 as checks

Listen = Callable[..., Listener]


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """What fails here fails at once."""
    with patience(0.5):
        yield


@pytest.fixture(autouse=True)
def announced(connection: psycopg.Connection) -> None:
    """The article's trigger is in place."""
    connection.execute(read_sql("03_notify.sql").encode())


@pytest.fixture
def card(profiles: Profiles, cache: Cache) -> Iterator[ProfileCard]:
    """A card of ada."""
    shown = ProfileCard(profiles, cache, "ada")
    yield shown
    shown.close()


def carry(profiles: Profiles, cache: Cache, username: str = "ada") -> None:
    """Carry a row into the cache by hand."""
    cache.put([Change(username, row=profiles.get(username))])


def test_patience_shortens_every_wait_of_its_block_only() -> None:
    with patience(0.1), pytest.raises(CheckFailed, match=r"Waited 0\.1 s in vain: never"):
        checks.until("never", lambda: False, timeout=60)
    with pytest.raises(CheckFailed, match=r"Waited 0\.5 s"):
        checks.until("never", lambda: False, timeout=60)
    with pytest.raises(CheckFailed, match=r"Waited 0\.2 s"):
        checks.until("never", lambda: False, timeout=0.2)


def test_the_first_hop_is_the_write(profiles: Profiles, cache: Cache) -> None:
    with pytest.raises(CheckFailed, match=r"Hop 1, the write: ada has 0 likes .* makes it 1"):
        checks.cache_follows(profiles, cache, "ada", likes=1)
    profiles.increment("ada", "likes")
    carry(profiles, cache)
    assert "agree about ada" in repr(checks.cache_follows(profiles, cache, "ada", likes=1))
    with pytest.raises(CheckFailed, match=r"Hop 1, the write: ada has 1 likes .* makes it 2"):
        checks.cache_follows(profiles, cache, "ada", likes=2)


def test_more_than_the_step_brings_about_is_right_too(profiles: Profiles, cache: Cache) -> None:
    for _ in range(3):
        profiles.increment("ada", "likes")
    carry(profiles, cache)
    checks.cache_follows(profiles, cache, "ada", likes=2)


def test_the_second_hop_is_the_announcement(
    profiles: Profiles, cache: Cache, connection: psycopg.Connection
) -> None:
    connection.execute("ALTER TABLE profile DISABLE TRIGGER notify_profile")
    profiles.increment("ada", "likes")
    with pytest.raises(CheckFailed, match=r"Hop 2, .* no trigger notify_profile"):
        checks.cache_follows(profiles, cache, "ada", likes=1)
    with pytest.raises(CheckFailed, match="no trigger notify_profile"):
        checks.stage_is_set(profiles.database_url)


def test_the_third_hop_is_the_listener(profiles: Profiles, cache: Cache, listen: Listen) -> None:
    profiles.increment("ada", "likes")
    with pytest.raises(CheckFailed, match="Hop 3, nobody carries the change"):
        checks.cache_follows(profiles, cache, "ada", likes=1)
    listen(profiles.database_url, cache)
    with pytest.raises(CheckFailed, match="Hop 3, the cache is behind"):
        checks.cache_follows(profiles, cache, "ada", likes=1)
    profiles.increment("ada", "likes")
    checks.cache_follows(profiles, cache, "ada", likes=2)


def test_a_captured_table_is_announced_too_and_needs_another_feed(
    profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    install(profiles.database_url)
    listen(profiles.database_url, cache)
    profiles.increment("ada", "likes")
    with pytest.raises(CheckFailed, match=r"Hop 3, .* only a listener with a ChangeTableFeed"):
        checks.cache_follows(profiles, cache, "ada", likes=1)
    with pytest.raises(CheckFailed, match="no trigger notify_profile"):
        checks.stage_is_set(profiles.database_url)
    with Listener(ChangeTableFeed(profiles.database_url), cache):
        checks.cache_follows(profiles, cache, "ada", 5, likes=1)


def test_a_row_that_only_the_cache_has_is_named(profiles: Profiles, cache: Cache) -> None:
    cache.put([Change("ada", row={"username": "ada"})])
    with pytest.raises(CheckFailed, match="The cache still holds ada"):
        checks.cache_follows(profiles, cache, "ada")


def test_the_fourth_hop_is_the_card(profiles: Profiles, cache: Cache, card: ProfileCard) -> None:
    with pytest.raises(CheckFailed, match="Hop 1"):
        checks.card_shows(profiles, card, likes=1)
    profiles.increment("ada", "likes")
    with pytest.raises(CheckFailed, match="Hop 3"):
        checks.card_shows(profiles, card, likes=1)
    carry(profiles, cache)
    assert "card shows" in repr(checks.card_shows(profiles, card, likes=1))
    card.close()
    profiles.increment("ada", "likes")
    carry(profiles, cache)
    with pytest.raises(CheckFailed, match=r"Hop 4, .* It shows 1 likes instead of 2"):
        checks.card_shows(profiles, card, likes=2)


def test_the_fourth_hop_is_a_label_of_ones_own(profiles: Profiles, cache: Cache) -> None:
    label = ipywidgets.Label("3 followings")
    profiles.increment("ada", "likes")
    profiles.increment("ada", "followers")
    carry(profiles, cache)
    with pytest.raises(CheckFailed, match="Hop 4, the cache has 2 likes and followers of ada"):
        checks.label_shows(profiles, cache, "ada", label, likes=1, followers=1)
    label.value = "1 and 1 make 2"
    verdict = checks.label_shows(profiles, cache, "ada", label, likes=1, followers=1)
    assert "likes and followers of ada" in repr(verdict)


@pytest.mark.parametrize("history", [[], [2], [1, 1], [2, 1], [2, 2]])
def test_a_history_must_have_several_likes_and_end_right(
    profiles: Profiles, history: list[int]
) -> None:
    for _ in range(2):
        profiles.increment("ada", "likes")
    with pytest.raises(CheckFailed, match=r"should end with 2 likes, and it ends with \["):
        checks.history_ends(profiles, "ada", history)
    assert "history ends" in repr(checks.history_ends(profiles, "ada", [*history, 1, 2]))
