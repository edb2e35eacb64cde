"""The write side: one transaction a call, from any thread, whatever happens to connections."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from reactive_demo import Profiles, ReactiveDemoError
from reactive_demo.app.profiles import COUNTERS
from reactive_demo.tutorial.fault_proxy import FaultProxy
from tools.databases import backends, terminate

NOBODY_THERE = "postgresql://ada:secret@127.0.0.1:1/demo"


@pytest.fixture
def database(article_database: str) -> str:
    """With the article's trigger, which limits the length of a row."""
    return article_database


def connections(connection: psycopg.Connection) -> list[int]:
    return backends(connection, "reactive_demo write")


@pytest.mark.parametrize("counter", COUNTERS)
def test_a_counter_is_incremented_and_read_back(profiles: Profiles, counter: str) -> None:
    assert profiles.get("ada") is None
    profiles.increment("ada", counter)
    profiles.increment("ada", counter)
    counts = {f"{name}_count": 2 if name == counter else 0 for name in COUNTERS}
    assert profiles.get("ada") == {"username": "ada", **counts}


def test_an_unknown_counter_is_refused_in_words(profiles: Profiles) -> None:
    with pytest.raises(
        ReactiveDemoError,
        match="there is no counter 'shares': The counters are followings, followers and likes",
    ):
        profiles.increment("ada", "shares")
    assert profiles.get("ada") is None


def test_a_profile_is_deleted_once(profiles: Profiles) -> None:
    profiles.increment("ada", "likes")
    assert profiles.delete("ada")
    assert profiles.get("ada") is None
    assert not profiles.delete("ada")


def test_a_profile_is_renamed_with_its_counts(profiles: Profiles) -> None:
    profiles.increment("ada", "likes")
    assert profiles.rename("ada", "countess")
    assert profiles.get("ada") is None
    assert profiles.get("countess")["likes_count"] == 1
    assert not profiles.rename("ada", "byron")


def test_a_name_that_is_taken_is_refused_and_both_profiles_stay(profiles: Profiles) -> None:
    profiles.increment("ada", "likes")
    profiles.increment("bob", "followers")
    with pytest.raises(ReactiveDemoError, match="There is a profile 'bob' already"):
        profiles.rename("ada", "bob")
    assert profiles.get("ada")["likes_count"] == 1
    assert profiles.get("bob")["followers_count"] == 1


def test_odd_names_are_names_like_others(profiles: Profiles, odd_names: list[str]) -> None:
    for name in odd_names:
        profiles.increment(name, "likes")
        assert profiles.get(name)["username"] == name
        assert profiles.rename(name, "ada")
        assert profiles.rename("ada", name)
        assert profiles.delete(name)


def test_many_threads_share_a_few_connections(
    profiles: Profiles, connection: psycopg.Connection
) -> None:
    with ThreadPoolExecutor(32) as threads:
        list(threads.map(lambda _: profiles.increment("ada", "likes"), range(500)))
    assert profiles.get("ada")["likes_count"] == 500
    assert 1 <= len(connections(connection)) <= profiles._pool._size


def test_a_subscriber_is_told_of_each_increment_and_when_it_was(profiles: Profiles) -> None:
    told: list[tuple[str, float, float]] = []
    end = profiles.wrote.subscribe(lambda *write: told.append(write))
    profiles.increment_all([("bob", "likes"), ("ada", "likes"), ("ada", "followers")])
    end()
    profiles.increment("eve", "likes")
    assert {name for name, *_ in told} == {"ada", "bob"}
    assert len(told) == 2
    assert all(began <= done for _, began, done in told)


def test_a_connection_is_kept_for_the_next_call(
    profiles: Profiles, connection: psycopg.Connection
) -> None:
    profiles.increment("ada", "likes")
    kept = connections(connection)
    profiles.increment("ada", "likes")
    assert len(kept) == 1
    assert connections(connection) == kept


def test_a_write_is_one_round_trip(database: str) -> None:
    with FaultProxy.to_postgres(database) as wire, Profiles(wire.url) as profiles:
        for _ in range(10):  # the statement is prepared after a few
            profiles.increment("ada", "likes")
        before = wire.round_trips
        profiles.increment("ada", "likes")
        assert wire.round_trips == before + 1
        assert wire.connections == 1


def test_a_terminated_connection_does_not_break_the_next_call(
    profiles: Profiles, connection: psycopg.Connection
) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: profiles.increment("ada", "likes"), range(50)))
    terminate(connection, "reactive_demo write")
    profiles.increment("ada", "likes")
    assert profiles.get("ada")["likes_count"] == 51


def test_a_failed_call_spoils_no_connection(profiles: Profiles) -> None:
    for _ in range(2 * profiles._pool._size):
        with pytest.raises(psycopg.DataError):
            profiles.increment("a\0b", "likes")
    profiles.increment("ada", "likes")
    assert profiles.get("ada")["likes_count"] == 1


def test_a_row_too_long_to_be_announced_is_called_so(profiles: Profiles) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="payload string too long"):
        profiles.increment("x" * 8000, "likes")


def test_a_server_that_answers_is_not_called_away(profiles: Profiles) -> None:
    too_long_for_an_index = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(3_000))
    with pytest.raises(psycopg.OperationalError, match="index row"):
        profiles.increment(too_long_for_an_index, "likes")


def test_close_ends_the_connections_and_the_next_call_makes_a_new_one(
    profiles: Profiles, connection: psycopg.Connection
) -> None:
    profiles.increment("ada", "likes")
    before = connections(connection)
    profiles.close()
    profiles.increment("ada", "likes")
    assert connections(connection) != before
    assert profiles.get("ada")["likes_count"] == 2


def test_a_server_that_is_away_is_named_in_one_sentence_without_the_password() -> None:
    with Profiles(NOBODY_THERE) as profiles:
        for call in (
            lambda: profiles.increment("ada", "likes"),
            lambda: profiles.get("ada"),
            lambda: profiles.delete("ada"),
            lambda: profiles.rename("ada", "bob"),
        ):
            with pytest.raises(ReactiveDemoError) as caught:
                call()
            assert "does not answer" in str(caught.value)
            assert "Connection refused" in str(caught.value)
            assert "127.0.0.1:1" in str(caught.value)
            assert "secret" not in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_server_that_comes_back_is_found_again(door: Any) -> None:
    with Profiles(door.url) as profiles:
        for likes in (1, 2):
            with pytest.raises(ReactiveDemoError, match="does not answer"):
                profiles.increment("ada", "likes")
            door.open()
            profiles.increment("ada", "likes")
            assert profiles.get("ada")["likes_count"] == likes
            door.shut()


def test_a_server_that_is_away_prints_nothing_into_the_notebook() -> None:
    code = f"""
from reactive_demo import Profiles, ReactiveDemoError
profiles = Profiles({NOBODY_THERE!r})
for _ in range(2):
    try:
        profiles.increment("ada", "likes")
    except ReactiveDemoError:
        pass
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=dict(os.environ),
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
