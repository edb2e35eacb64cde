"""The checks of the chapter on LISTEN and NOTIFY: what is right, and what they say if it is not."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
import redis

from reactive_demo.tutorial.checks import CheckFailed
from reactive_demo.tutorial.checks import ch01 as checks

CHANNEL = "chapter_01"
TABLE = "chapter_01_letter"
STREAM = "chapter_01:log"

Hear = Callable[..., list[psycopg.Notify]]


@pytest.fixture
def ear(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"LISTEN {CHANNEL}".encode())
        yield connection


@pytest.fixture
def speaker(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def hear(ear: psycopg.Connection, speaker: psycopg.Connection) -> Hear:
    """Say things, each in a transaction of its own, and hear them."""

    def hear(*payloads: str, channel: str = CHANNEL) -> list[psycopg.Notify]:
        for payload in payloads:
            speaker.execute("SELECT pg_notify(%s, %s)", [channel, payload])
        return list(ear.notifies(timeout=5, stop_after=len(payloads)))

    return hear


@pytest.fixture
def letters(speaker: psycopg.Connection) -> psycopg.Connection:
    speaker.execute(f"CREATE TABLE {TABLE} (id bigserial PRIMARY KEY, body text)".encode())
    return speaker


def insert(connection: psycopg.Connection, body: str) -> str:
    query = f"INSERT INTO {TABLE} (body) VALUES (%s) RETURNING id::text".encode()
    return connection.execute(query, [body]).fetchone()[0]


def test_a_connection_that_listens(ear: psycopg.Connection) -> None:
    assert CHANNEL in str(checks.listens(ear, CHANNEL))


def test_a_connection_that_does_not_listen_is_told_how(speaker: psycopg.Connection) -> None:
    with pytest.raises(CheckFailed, match=r"on no channel.*LISTEN chapter_01"):
        checks.listens(speaker, CHANNEL)


def test_a_listen_that_is_taken_back_does_not_count(speaker: psycopg.Connection) -> None:
    with speaker.transaction(force_rollback=True):
        speaker.execute(f"LISTEN {CHANNEL}".encode())
    with pytest.raises(CheckFailed):
        checks.listens(speaker, CHANNEL)


def test_a_closed_connection_is_named(speaker: psycopg.Connection) -> None:
    speaker.close()
    with pytest.raises(CheckFailed, match=r"closed.*opens it again"):
        checks.listens(speaker, CHANNEL)


def test_what_was_heard_stays_heard(ear: psycopg.Connection, hear: Hear) -> None:
    batches = [hear("one"), hear("two", "three"), hear("later")]
    checks.heard(ear, batches, ["one"], ["two", "three"])


@pytest.mark.parametrize("wanted", [["two"], ["one", "two"], ["one", "one"], []])
def test_what_was_not_heard_like_this_fails(
    wanted: list[str], ear: psycopg.Connection, hear: Hear
) -> None:
    with pytest.raises(CheckFailed, match=r"the last one brought .*listens on chapter_01"):
        checks.heard(ear, [hear("one")], wanted)


def test_nothing_heard_on_a_deaf_connection_says_so(speaker: psycopg.Connection) -> None:
    with pytest.raises(CheckFailed, match=r"brought nothing.*listens on no channel"):
        checks.heard(speaker, [], ["hello"])


def test_a_long_message_does_not_fill_the_screen(ear: psycopg.Connection, hear: Hear) -> None:
    with pytest.raises(CheckFailed) as failure:
        checks.heard(ear, [hear("e" * 7999)], ["hello"])
    assert len(str(failure.value)) < 400


def test_two_channels_are_heard_on_one_connection(ear: psycopg.Connection, hear: Hear) -> None:
    ear.execute("LISTEN weather")
    batches = [hear("hello"), hear("rain", channel="weather")]
    checks.heard_on(ear, batches, CHANNEL, "weather")


def test_a_second_channel_that_is_silent_is_named(ear: psycopg.Connection, hear: Hear) -> None:
    batches = [hear("hello")]
    with pytest.raises(CheckFailed, match="LISTEN weather"):
        checks.heard_on(ear, batches, CHANNEL, "weather")
    ear.execute("LISTEN weather")
    with pytest.raises(CheckFailed, match="Nothing was heard on weather"):
        checks.heard_on(ear, batches, CHANNEL, "weather")


def test_a_row_that_was_taken_back_is_noticed(letters: psycopg.Connection) -> None:
    insert(letters, "kept")
    with letters.transaction(force_rollback=True):
        insert(letters, "taken back")
    checks.taken_back(letters, TABLE)
    insert(letters, "kept")
    checks.taken_back(letters, TABLE)


def test_rows_that_stay_are_not_taken_back(letters: psycopg.Connection) -> None:
    with pytest.raises(CheckFailed, match="no writer has failed"):
        checks.taken_back(letters, TABLE)
    insert(letters, "kept")
    with pytest.raises(CheckFailed, match="no writer has failed"):
        checks.taken_back(letters, TABLE)


def test_a_table_that_is_not_there_is_named(ear: psycopg.Connection, hear: Hear) -> None:
    with pytest.raises(CheckFailed, match=f"no table {TABLE}"):
        checks.taken_back(ear, TABLE)
    with pytest.raises(CheckFailed, match=f"no table {TABLE}"):
        checks.letter_found(ear, [hear("1")], TABLE, 10)


def test_a_key_leads_to_its_letter(
    ear: psycopg.Connection, letters: psycopg.Connection, hear: Hear
) -> None:
    batches = [hear("hello", insert(letters, "short")), hear(insert(letters, "é" * 10_000))]
    assert "10,000" in str(checks.letter_found(ear, batches, TABLE, 10_000))


def test_a_letter_that_no_key_leads_to_is_missed(
    ear: psycopg.Connection, letters: psycopg.Connection, hear: Hear
) -> None:
    batches = [hear("hello")]
    with pytest.raises(CheckFailed, match="No key was heard"):
        checks.letter_found(ear, batches, TABLE, 10)
    with letters.transaction(force_rollback=True):
        key = insert(letters, "e" * 10)
    batches.append(hear(key, insert(letters, "short")))
    with pytest.raises(CheckFailed, match="of 5 characters at most"):
        checks.letter_found(ear, batches, TABLE, 10)


def test_a_stream_keeps_its_entries(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for word in ("one", "two"):
            client.xadd(STREAM, {"word": word})
    checks.stream_keeps(redis_url, STREAM, "one", "two")


def test_a_stream_that_lacks_an_entry_fails(redis_url: str) -> None:
    with pytest.raises(CheckFailed, match=r"holds \[\]"):
        checks.stream_keeps(redis_url, STREAM, "one")
    with redis.Redis.from_url(redis_url) as client:
        client.xadd(STREAM, {"word": "two"})
    with pytest.raises(CheckFailed, match="'two'"):
        checks.stream_keeps(redis_url, STREAM, "one")


def test_a_key_that_is_no_stream_fails_in_words(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(STREAM, "no stream")
    with pytest.raises(CheckFailed, match="cannot read the stream"):
        checks.stream_keeps(redis_url, STREAM, "one")
