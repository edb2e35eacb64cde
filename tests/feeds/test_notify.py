"""The article's feed: a session passes on what it hears, and is not taken in by silence."""

import json
from typing import Any

import psycopg
import pytest

from reactive_demo import NotifyFeed
from reactive_demo.changes import Change
from reactive_demo.errors import NotCapturedError
from reactive_demo.options import Options
from reactive_demo.waiting import StopEvent
from tools.databases import backends, terminate
from tools.waiting import until

NAME = "reactive_demo listen"


@pytest.fixture
def database(article_database: str) -> str:
    """With the article's trigger."""
    return article_database


def test_notifications_that_came_beside_an_answer_are_heard(
    database: str, connection: psycopg.Connection
) -> None:
    """Those do not make the socket readable: psycopg has them already."""
    with NotifyFeed(database).open() as session:
        connection.execute("SELECT reactive.increment('ada', 'likes')")
        connection.execute("SELECT reactive.increment('bob', 'likes')")
        session.connection.execute("SELECT 1")
        heard: list[Any] = []

        def both() -> bool:
            heard.extend(session._hear(StopEvent(), 0.2))
            return len(heard) == 2

        until("both are heard", both)
        assert ["ada" in heard[0].payload, "bob" in heard[1].payload] == [True, True]


def test_a_silent_server_is_asked_for_a_sign_of_life(
    database: str, connection: psycopg.Connection
) -> None:
    with NotifyFeed(database, options=Options(heartbeat=0.01)).open() as session:
        batches = session.batches(None, StopEvent())
        assert [list(next(batches).changes) for _ in range(2)] == [[], []]
        last = "SELECT query FROM pg_stat_activity WHERE pid = %s"
        assert connection.execute(last, backends(connection, NAME)).fetchone() == ("SELECT 1",)


def test_a_lost_connection_is_noticed_while_waiting(
    database: str, connection: psycopg.Connection
) -> None:
    with NotifyFeed(database).open() as session:
        terminate(connection, NAME)
        with pytest.raises(psycopg.OperationalError):
            session._hear(StopEvent(), 30)


def test_a_feed_listens_where_it_is_told_to(database: str, connection: psycopg.Connection) -> None:
    feed = NotifyFeed(database, channel='an "odd" channel; --', key_column="id")
    row = {"id": "7", "n": 1}
    with feed.open() as session:
        connection.execute(
            "SELECT pg_notify(%s, %s)",
            [feed.channel, json.dumps({"operation": "UPDATE", "row": row})],
        )
        batches = session.batches(None, StopEvent())
        assert [list(next(batches).changes) for _ in range(2)] == [[], [Change("7", row)]]


def test_channel_and_key_are_the_tables_own_unless_they_are_named(
    database: str, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE TABLE orders (n int, id text PRIMARY KEY)")
    with NotifyFeed(database, "orders").open() as session:
        connection.execute("CREATE TABLE pair (a int, b int, PRIMARY KEY (a, b))")
        payload = json.dumps({"operation": "INSERT", "row": {"n": 1, "id": "7"}})
        connection.execute("SELECT pg_notify('orders_change', %s)", [payload])
        batches = session.batches(None, StopEvent())
        next(batches)
        assert [change.key for change in next(batches).changes] == ["7"]
    for table in ("absent", "pair"):
        with pytest.raises(NotCapturedError, match=f"no table {table} with a primary key of one"):
            NotifyFeed(database, table).open()
