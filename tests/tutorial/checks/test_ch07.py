"""The checks of the chapter on healing: each fails in words, and passes when its step was done."""

from collections.abc import Iterator

import psycopg
import pytest

from reactive_demo import (
    Cache,
    ChangeTableFeed,
    Listener,
    NotifyFeed,
    Profiles,
    Stack,
    install,
    uninstall,
)
from reactive_demo.tutorial.checks import CheckFailed, patience
from reactive_demo.tutorial.checks import ch07 as checks

ROWS = """
    DROP TABLE IF EXISTS "a seat";
    CREATE TABLE "a seat" (hall text, seat int, guest text, secret text, PRIMARY KEY (hall, seat))
"""


@pytest.fixture
def impatient() -> Iterator[None]:
    """What fails here fails at once."""
    with patience(0.3):
        yield


@pytest.fixture
def served(database: str, valkey_url: str) -> Stack:
    """The stack, with this test's own database."""
    return Stack(database, valkey_url, {})


def test_a_change_is_lost_only_by_a_listener_who_is_live(profiles: Profiles, cache: Cache) -> None:
    first, second = (Listener(NotifyFeed(profiles.database_url), cache) for _ in range(2))
    first.start().wait_until("live")
    profiles.increment("ada", "likes")
    checks.cache_follows(profiles, cache, "ada", likes=1)
    with pytest.raises(CheckFailed, match="Nothing is lost"):
        checks.change_is_lost(first, profiles, "ada")
    first.stop()
    profiles.increment("ada", "likes")
    with pytest.raises(CheckFailed, match="The listener is stopped"):
        checks.change_is_lost(first, profiles, "ada")
    with second:
        second.wait_until("live")
        assert "wrong about ada" in repr(checks.change_is_lost(second, profiles, "ada"))


@pytest.mark.usefixtures("impatient")
def test_healing_says_what_is_not_healed_yet(profiles: Profiles, cache: Cache) -> None:
    install(profiles.database_url)
    with pytest.raises(CheckFailed, match="not captured"):
        checks.is_captured(profiles.database_url, "nothing")
    assert "change table" in repr(checks.is_captured(profiles.database_url))
    with Listener(ChangeTableFeed(profiles.database_url), cache) as listener:
        listener.wait_until("live")
        with pytest.raises(CheckFailed, match=r"ada has 0 likes .* makes it 1"):
            checks.has_healed(listener, profiles, "ada", likes=1)
        cache.wait_for("ada", profiles.increment("ada", "likes"))
        with pytest.raises(CheckFailed, match="has come back 0 times, and should have 1"):
            checks.has_healed(listener, profiles, "ada", likes=1, reconnects=1)
        assert "agree about ada" in repr(checks.has_healed(listener, profiles, "ada", likes=1))
    profiles.increment("ada", "likes")
    with pytest.raises(CheckFailed, match="the listener is stopped"):
        checks.has_healed(listener, profiles, "ada")


def test_a_row_is_missed_if_it_is_below_what_was_seen(
    database: str, connection: psycopg.Connection
) -> None:
    with pytest.raises(CheckFailed, match="The database refuses"):
        checks.row_is_missed(database, "race", [])
    connection.execute("CREATE TABLE race AS SELECT 1::bigint AS number UNION SELECT 2")
    for seen, words in (([1, 2], "Nothing is missed"), ([1], "Number 2 is new")):
        with pytest.raises(CheckFailed, match=words):
            checks.row_is_missed(database, "race", seen)
    assert "number 1" in repr(checks.row_is_missed(database, "race", [2]))
    for seen, words in (([2], "Number 1 of race was not seen"), ([1, 2, 2], "seen twice")):
        with pytest.raises(CheckFailed, match=words):
            checks.nothing_is_missed(database, "race", seen)
    assert "all 2 rows" in repr(checks.nothing_is_missed(database, "race", [2, 1]))


def test_a_write_is_recorded_if_the_newest_entry_is_by_its_transaction(
    profiles: Profiles, connection: psycopg.Connection
) -> None:
    url = profiles.database_url
    profiles.increment("alan", "likes")
    install(url)
    for username, words in (("ada", "There is no ada"), ("alan", "no entry about the row of alan")):
        with pytest.raises(CheckFailed, match=words):
            checks.write_is_recorded(url, username)
    for _ in range(2):
        profiles.increment("alan", "likes")
    assert "alan is in the table" in repr(checks.write_is_recorded(url, "alan"))
    connection.execute(
        "DELETE FROM reactive.change WHERE version < (SELECT max(version) FROM reactive.change)"
    )
    assert "knows it" in repr(checks.write_is_recorded(url, "alan"))


@pytest.mark.usefixtures("impatient")
def test_a_table_is_followed_without_its_secret(
    served: Stack, connection: psycopg.Connection
) -> None:
    url, table = served.database_url, '"a seat"'
    connection.execute(ROWS)
    connection.execute("INSERT INTO \"a seat\" VALUES ('opera', 7, 'ada', 'x')")
    with pytest.raises(CheckFailed, match="is not captured"):
        checks.table_is_followed(served, table)
    install(url, table)
    with pytest.raises(CheckFailed, match=r"Is there a listener"):
        checks.table_is_followed(served, table)
    for exclude in ([], ["secret"]):
        uninstall(url, table)
        install(url, table, exclude=exclude)
        with Listener(ChangeTableFeed(url, table), Cache(served.redis_url, table)) as listener:
            listener.wait_until("live")
            if exclude:
                assert "without secret" in repr(checks.table_is_followed(served, table, "secret"))
            else:
                assert "each row" in repr(checks.table_is_followed(served, table))
                with pytest.raises(CheckFailed, match="cache shows secret"):
                    checks.table_is_followed(served, table, "secret")
