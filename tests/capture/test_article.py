"""The SQL files on a real server: the counter is right, and each change is announced."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from reactive_demo import uninstall
from reactive_demo.tutorial.chapter_setup import install_article

CLIENTS = 64


class Ear:
    """A connection that listens to what the article's trigger announces."""

    def __init__(self, database_url: str) -> None:
        self._connection = psycopg.connect(database_url, autocommit=True)
        self._connection.execute("LISTEN profile_change")
        self.times: list[float] = []

    def heard(self) -> list[dict]:
        """All that was announced so far, without its times: our own message marks the end."""
        self._connection.execute("NOTIFY profile_change, 'end'")
        payloads = []
        while "end" not in payloads:
            payloads += [n.payload for n in self._connection.notifies(timeout=5, stop_after=1)]
        assert payloads.pop() == "end"
        messages = [json.loads(payload) for payload in payloads]
        self.times += [message.pop("changed_at") for message in messages]
        return messages

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def database(article_database: str) -> str:
    """With the article's trigger."""
    return article_database


@pytest.fixture
def ear(database: str) -> Iterator[Ear]:
    listening = Ear(database)
    yield listening
    listening.close()


def row(username: str, **counts: int) -> dict:
    return {
        "username": username,
        **{f"{name}_count": counts.get(name, 0) for name in ("followings", "followers", "likes")},
    }


def stored(connection: psycopg.Connection, username: str) -> tuple | None:
    return connection.execute(
        "SELECT followings_count, followers_count, likes_count FROM public.profile "
        "WHERE username = %s",
        [username],
    ).fetchone()


# The counter


@pytest.mark.parametrize(
    ("counter", "counts"),
    [("followings", (2, 0, 0)), ("followers", (0, 2, 0)), ("likes", (0, 0, 2))],
)
def test_each_counter_makes_the_profile_and_then_counts(
    connection: psycopg.Connection, counter: str, counts: tuple
) -> None:
    for _ in range(2):
        connection.execute("SELECT reactive.increment('ada', %s)", [counter])
    assert stored(connection, "ada") == counts


def test_64_clients_that_are_first_at_once_are_all_counted(
    database: str, connection: psycopg.Connection
) -> None:
    together = threading.Barrier(CLIENTS)

    def client(_: int) -> None:
        with psycopg.connect(database, autocommit=True) as own:
            together.wait(30)
            own.execute("SELECT reactive.increment('ada', 'likes')")

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(client, range(CLIENTS)))
    assert stored(connection, "ada") == (0, 0, CLIENTS)


def test_an_unknown_counter_is_named_with_a_hint_and_writes_nothing(
    connection: psycopg.Connection,
) -> None:
    for counter, shown in {
        "shares": "'shares'",
        "": "''",
        "Likes": "'Likes'",
        "it's": "'it''s'",
        None: "NULL",
    }.items():
        with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
            connection.execute("SELECT reactive.increment('ada', %s)", [counter])
        assert caught.value.diag.message_primary == f"there is no counter {shown}"
        assert caught.value.diag.message_hint == "The counters are followings, followers and likes."
    assert stored(connection, "ada") is None


# The announcement


def test_insert_update_and_delete_are_announced_with_the_row(
    connection: psycopg.Connection, ear: Ear
) -> None:
    connection.execute("INSERT INTO profile VALUES ('ada')")
    connection.execute("UPDATE profile SET likes_count = 9007199254740993")
    connection.execute("DELETE FROM profile")
    assert ear.heard() == [
        {"operation": "INSERT", "row": row("ada")},
        {"operation": "UPDATE", "row": row("ada", likes=9007199254740993)},
        {"operation": "DELETE", "row": row("ada", likes=9007199254740993)},
    ]


def test_odd_names_are_announced_as_they_are(
    connection: psycopg.Connection, ear: Ear, odd_names: list[str]
) -> None:
    for name in odd_names:
        connection.execute("SELECT reactive.increment(%s, 'likes')", [name])
        connection.execute("DELETE FROM profile WHERE username = %s", [name])
        assert ear.heard() == [
            {"operation": "INSERT", "row": row(name, likes=1)},
            {"operation": "DELETE", "row": row(name, likes=1)},
        ]


def test_each_announcement_tells_when_the_row_changed_by_the_clock_of_the_database(
    connection: psycopg.Connection, ear: Ear
) -> None:
    clock = "SELECT round(extract(epoch FROM clock_timestamp()), 6)"
    moments = [connection.execute(clock).fetchone()[0]]
    for _ in range(3):
        connection.execute("SELECT reactive.increment('ada', 'likes')")
        moments.append(connection.execute(clock).fetchone()[0])
    ear.heard()
    for before, changed_at, after in zip(moments, ear.times, moments[1:], strict=False):
        assert float(before) <= changed_at <= float(after)
    assert len(ear.times) == 3


def test_each_row_of_one_statement_is_announced(connection: psycopg.Connection, ear: Ear) -> None:
    connection.execute("INSERT INTO profile SELECT 'user ' || n FROM generate_series(1, 100) AS n")
    assert [message["row"]["username"] for message in ear.heard()] == [
        f"user {n}" for n in range(1, 101)
    ]


def test_nothing_is_announced_before_the_commit(connection: psycopg.Connection, ear: Ear) -> None:
    with connection.transaction():
        connection.execute("SELECT reactive.increment('ada', 'likes')")
        assert ear.heard() == []
    assert ear.heard() == [{"operation": "INSERT", "row": row("ada", likes=1)}]


def test_what_is_rolled_back_is_never_announced(connection: psycopg.Connection, ear: Ear) -> None:
    with connection.transaction():
        connection.execute("SELECT reactive.increment('ada', 'likes')")
        with connection.transaction(force_rollback=True):
            connection.execute("SELECT reactive.increment('bob', 'likes')")
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT reactive.increment('eve', 'likes')")
    assert [message["row"]["username"] for message in ear.heard()] == ["ada"]


def test_a_row_of_8000_bytes_breaks_its_writers_transaction(
    connection: psycopg.Connection, ear: Ear
) -> None:
    """The article's weakness: the cache's trouble becomes the application's."""
    connection.execute("ALTER TABLE profile ADD COLUMN bio text")
    connection.execute("INSERT INTO profile (username, bio) VALUES ('ada', repeat('é', 3900))")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="payload string too long"):
        connection.execute("UPDATE profile SET bio = repeat('é', 4000) WHERE username = 'ada'")
    assert connection.execute("SELECT length(bio) FROM profile").fetchone() == (3900,)
    assert [message["operation"] for message in ear.heard()] == ["INSERT"]


# The surroundings


def test_a_hostile_search_path_and_a_temporary_table_mislead_nobody(
    connection: psycopg.Connection, ear: Ear
) -> None:
    trap = "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$"
    for statement in (
        "CREATE SCHEMA evil",
        f"CREATE FUNCTION evil.pg_notify(text, text) RETURNS void {trap}",
        f"CREATE FUNCTION evil.to_json(anyelement) RETURNS json {trap}",
        f"CREATE FUNCTION evil.quote_literal(text) RETURNS text {trap}",
        f"CREATE FUNCTION evil.equal(text, text) RETURNS boolean {trap}",
        "CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equal)",
        "CREATE TABLE evil.profile (LIKE public.profile INCLUDING ALL)",
        "CREATE TEMPORARY TABLE profile (LIKE public.profile INCLUDING ALL)",
        "SET search_path = evil, pg_temp, pg_catalog, public",
    ):
        connection.execute(statement.encode())
    for _ in range(2):
        connection.execute("SELECT reactive.increment('ada', 'likes')")
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        connection.execute("SELECT reactive.increment('ada', 'shares')")
    connection.execute("INSERT INTO public.profile VALUES ('bob')")
    connection.execute("RESET search_path")
    assert stored(connection, "ada") == (0, 0, 2)
    assert connection.execute(
        "SELECT (SELECT count(*) FROM evil.profile) + (SELECT count(*) FROM pg_temp.profile)"
    ).fetchone() == (0,)
    assert ear.heard() == [
        {"operation": "INSERT", "row": row("ada", likes=1)},
        {"operation": "UPDATE", "row": row("ada", likes=2)},
        {"operation": "INSERT", "row": row("bob")},
    ]


def test_installing_again_keeps_the_rows_and_announces_once(
    database: str, connection: psycopg.Connection, ear: Ear
) -> None:
    connection.execute("SELECT reactive.increment('ada', 'likes')")
    install_article(database)
    connection.execute("SELECT reactive.increment('ada', 'likes')")
    assert [message["row"]["likes_count"] for message in ear.heard()] == [1, 2]


def test_uninstalling_leaves_the_table_the_rows_and_no_trace(
    database: str, connection: psycopg.Connection, ear: Ear
) -> None:
    connection.execute("SELECT reactive.increment('ada', 'likes')")
    uninstall(database)
    connection.execute("UPDATE profile SET likes_count = 5")
    assert stored(connection, "ada") == (0, 0, 5)
    assert len(ear.heard()) == 1
    assert connection.execute(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'profile'::regclass"
    ).fetchone() == (0,)
    assert connection.execute("SELECT to_regnamespace('reactive')").fetchone() == (None,)
