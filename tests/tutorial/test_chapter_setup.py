"""How a chapter begins; and a database of its own: empty each time, nobody else's is dropped."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from reactive_demo import (
    Cache,
    Listener,
    LogFeed,
    Profiles,
    ReactiveDemoError,
    Stack,
    install,
    set_stage,
)
from reactive_demo.changes import Change
from reactive_demo.tutorial.chapter_setup import drop_database, fresh_database
from reactive_demo.tutorial.checks.ch04 import stage_is_set
from reactive_demo.tutorial.checks.pipeline import is_captured
from tools.databases import unheard
from tools.waiting import until

NAME = 'a "chapter" of its own'


@pytest.fixture(autouse=True)
def _leave_nothing(stack: Stack) -> Iterator[None]:
    yield
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        for name in (NAME, "chapter_t"):
            quoted = psycopg.sql.Identifier(name)
            connection.execute(
                psycopg.sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(quoted)
            )
        connection.execute("DROP ROLE IF EXISTS guest")


@pytest.mark.parametrize("captured", [False, True])
def test_the_stage_is_the_article_s_or_captured_and_nobody_is_on_it(
    database: str, valkey_url: str, cache: Cache, profiles: Profiles, captured: bool
) -> None:
    there = Stack(database, valkey_url, {})
    set_stage(there, captured=not captured)
    profiles.increment("ada", "likes")
    cache.put([Change("ada", {"likes_count": 1})])
    set_stage(there, "ada", captured=captured)
    assert profiles.get("ada") is None
    assert cache.get("ada") is None
    (is_captured if captured else stage_is_set)(database)


def test_what_was_followed_in_the_log_leaves_nothing(
    database: str, valkey_url: str, cache: Cache, connection: psycopg.Connection
) -> None:
    there = Stack(database, valkey_url, {})
    set_stage(there, "ada", captured=True, feed="log")
    with Listener(LogFeed(database), cache) as listener:
        listener.wait_until("live")
    assert connection.execute(IN_LOG).fetchall() == [("publication",), ("slot",)]
    set_stage(there, "ada")
    assert connection.execute(IN_LOG).fetchall() == []
    stage_is_set(database)


IN_LOG = """
    SELECT 'publication' FROM pg_publication
    UNION ALL SELECT 'slot' FROM pg_replication_slots WHERE database = current_database()
"""


def test_a_database_with_slots_is_dropped_too(stack: Stack, cache: Cache) -> None:
    url = fresh_database(stack, "chapter_t")
    install(url, feed="log")
    with Listener(LogFeed(url), cache) as listener:
        listener.wait_until("live")
        fresh_database(stack, "chapter_t")
    install(url, feed="log")
    with Listener(LogFeed(url), cache) as listener:
        listener.wait_until("live")
    drop_database(stack, "chapter_t")


def guest(stack: Stack, *rights: str) -> Stack:
    """The same servers, as a role with these rights and no others."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN " + " ".join(rights))
    return Stack(make_conninfo(stack.database_url, user="guest"), stack.redis_url, {})


def tables(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [
            name
            for (name,) in connection.execute(
                "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            )
        ]


@pytest.mark.parametrize("name", ["chapter_t", NAME])
def test_it_is_empty_each_time_and_whoever_was_connected_is_thrown_out(
    stack: Stack, name: str
) -> None:
    url = fresh_database(stack, name)
    assert conninfo_to_dict(url)["dbname"] == name
    earlier = psycopg.connect(url, autocommit=True)
    earlier.execute("CREATE TABLE public.left_over ()")
    assert tables(fresh_database(stack, name)) == []
    with pytest.raises(psycopg.OperationalError):
        earlier.execute("SELECT")


def test_the_other_databases_are_not_touched(stack: Stack) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.mine ()")
        try:
            fresh_database(stack, "chapter_t")
            assert "mine" in tables(stack.database_url)
        finally:
            connection.execute("DROP TABLE public.mine")


def test_a_database_that_the_tutorial_did_not_make_is_kept(stack: Stack) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE chapter_t")
    with pytest.raises(ReactiveDemoError, match=r"a database chapter_t already.*did not make it"):
        fresh_database(stack, "chapter_t")
    assert tables(make_conninfo(stack.database_url, dbname="chapter_t")) == []


def test_a_listener_that_does_not_read_is_named_as_the_reason(stack: Stack) -> None:
    fresh_database(stack, "chapter_t")
    with (
        psycopg.connect(stack.database_url, autocommit=True) as connection,
        psycopg.connect(stack.database_url, autocommit=True) as deaf,
    ):
        deaf.execute("LISTEN anything")
        connection.execute(
            "SELECT pg_notify('anything', repeat('x', 1000) || n) FROM generate_series(1, 5000) n"
        )
        until("the server waits for it", lambda: unheard(connection))
        with pytest.raises(ReactiveDemoError, match=r"chapter_t could not be dropped.*not read"):
            fresh_database(stack, "chapter_t", drop_timeout=1)
        with pytest.raises(ReactiveDemoError, match=r"chapter_t could not be dropped.*not read"):
            drop_database(stack, "chapter_t", timeout=1)
    fresh_database(stack, "chapter_t")


def test_two_kernels_that_begin_at_once_both_get_one(stack: Stack) -> None:
    with ThreadPoolExecutor() as threads:
        urls = list(threads.map(lambda _: fresh_database(stack, "chapter_t"), range(4)))
    assert len(set(urls)) == 1
    assert tables(urls[0]) == []


def test_a_role_that_may_create_databases_is_enough(stack: Stack) -> None:
    account = guest(stack, "CREATEDB")
    for _ in range(2):
        with psycopg.connect(fresh_database(account, "chapter_t"), autocommit=True) as connection:
            connection.execute("CREATE TABLE public.profile ()")  # the owner may, in `public`


def test_a_role_that_may_not_is_told_what_to_do(stack: Stack) -> None:
    account = guest(stack)
    with pytest.raises(ReactiveDemoError, match=r"chapter_t.*permission denied.*CREATEDB"):
        fresh_database(account, "chapter_t")


def test_a_server_that_does_not_answer_is_named_without_a_traceback() -> None:
    nowhere = Stack("host=/nonexistent dbname=ada password=geheim", "", {})
    with pytest.raises(ReactiveDemoError, match=r"chapter_t could not be created") as caught:
        fresh_database(nowhere, "chapter_t")
    assert "geheim" not in str(caught.value)


def test_a_uri_and_a_conninfo_both_lead_there(stack: Stack) -> None:
    for address in (stack.database_url, make_conninfo(stack.database_url)):
        own = Stack(address, stack.redis_url, {})
        assert tables(fresh_database(own, "chapter_t")) == []
