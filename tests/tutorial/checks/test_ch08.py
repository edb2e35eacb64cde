"""The checks of the chapter on the log: each fails in words, and passes when its step was done."""

from collections.abc import Iterator

import psycopg
import pytest

from reactive_demo import Cache, Listener, LogFeed, Profiles, install, uninstall
from reactive_demo.tutorial.checks import CheckFailed, patience
from reactive_demo.tutorial.checks import ch08 as checks


@pytest.fixture(autouse=True)
def _impatient() -> Iterator[None]:
    """What fails here fails at once."""
    with patience(0.3):
        yield


@pytest.fixture
def words(connection: psycopg.Connection) -> None:
    """The chapter's table, with two words."""
    connection.execute("CREATE TABLE public.chapter_08 (word text PRIMARY KEY)")
    connection.execute("INSERT INTO public.chapter_08 VALUES ('loom'), ('boat')")


@pytest.fixture
def published(database: str) -> Iterator[str]:
    """A database whose profiles are published in the log."""
    install(database, feed="log")
    yield database
    uninstall(database)


@pytest.mark.usefixtures("words")
def test_the_log_tells_what_is_committed(database: str, connection: psycopg.Connection) -> None:
    for told, complaint in (
        (["loom"], "'boat' is in the table, and the log has not told it"),
        (["loom", "boat", "ship"], "'ship' was told, and is not in the table"),
    ):
        with pytest.raises(CheckFailed, match=complaint):
            checks.tells_what_is_committed(database, told)
    assert "nothing else" in repr(checks.tells_what_is_committed(database, ["boat", "loom"]))
    connection.execute("TRUNCATE chapter_08")
    with pytest.raises(CheckFailed, match="is empty"):
        checks.tells_what_is_committed(database, [])


def test_a_table_that_is_not_there_is_a_failed_check(database: str) -> None:
    with pytest.raises(CheckFailed, match=r"The database refuses \(.*chapter_08"):
        checks.each_once(database, [], [])


@pytest.mark.usefixtures("words")
def test_each_word_arrives_once(database: str) -> None:
    for copied, told, complaint in (
        (["loom"], [], "'boat' is neither in the copy nor told by the log"),
        (["loom", "boat"], ["boat"], "'boat' is in the copy, and the log tells it too"),
    ):
        with pytest.raises(CheckFailed, match=complaint):
            checks.each_once(database, copied, told)
    assert "each of the 2 words" in repr(checks.each_once(database, ["loom"], ["boat"]))


def test_profile_is_followed_in_the_log(database: str, cache: Cache) -> None:
    with pytest.raises(CheckFailed, match="is not published"):
        checks.is_followed_in_the_log(database)
    install(database, feed="log")
    try:
        with pytest.raises(CheckFailed, match="Nobody reads a slot"):
            checks.is_followed_in_the_log(database)
        with Listener(LogFeed(database), cache) as listener:
            listener.wait_until("live")
            assert "reads its slot" in repr(checks.is_followed_in_the_log(database))
            with psycopg.connect(database) as connection:
                connection.execute(TRIGGER)
            with pytest.raises(CheckFailed, match="The trigger reactive_capture is there"):
                checks.is_followed_in_the_log(database)
    finally:
        uninstall(database)
    assert "no slot is left" in repr(checks.nothing_is_left(database))


TRIGGER = """
    CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER reactive_capture AFTER INSERT ON public.profile EXECUTE FUNCTION nothing()
"""


def test_an_unread_slot_keeps_the_log(published: str, cache: Cache) -> None:
    megabyte = 1_000_000
    with pytest.raises(CheckFailed, match="profile has no slot"):
        checks.nobody_reads(published, megabyte)
    with Listener(LogFeed(published), cache) as listener:
        listener.wait_until("live")
        with pytest.raises(CheckFailed, match="a listener reads it: stop it first"):
            checks.nobody_reads(published, megabyte)
    with pytest.raises(CheckFailed, match=r"The slot retains .*this step makes it 900\.0 MB"):
        checks.nobody_reads(published, 900 * megabyte)
    with psycopg.connect(published, autocommit=True) as connection:
        connection.execute("SELECT pg_logical_emit_message(true, '', repeat('x', 1000000))")
        assert "1.0 MB" in repr(checks.nobody_reads(published, megabyte))
    with pytest.raises(CheckFailed, match="run the cell that uninstalls"):
        checks.nothing_is_left(published)


def test_a_publication_is_something_left(published: str) -> None:
    with pytest.raises(CheckFailed, match="still published"):
        checks.nothing_is_left(published)


def test_what_is_behind_names_the_feed_that_would_hear(
    published: str, profiles: Profiles, cache: Cache
) -> None:
    with Listener(LogFeed(published), cache) as listener:
        listener.wait_until("live")
        profiles.increment("ada", "likes")
        assert "agree about ada" in repr(checks.cache_follows(profiles, cache, "ada", likes=1))
    profiles.increment("ada", "likes")
    with (
        psycopg.connect(published, application_name="reactive_demo listen another"),
        pytest.raises(CheckFailed, match="only a listener with a LogFeed"),
    ):
        checks.cache_follows(profiles, cache, "ada")
