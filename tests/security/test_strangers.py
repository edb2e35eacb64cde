"""What a role that merely may connect, or use the schema, can do: nothing that matters."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from reactive_demo import Cache, ChangeTableFeed, Listener, Profiles, ReadThrough, install
from reactive_demo.errors import LockTimeoutError, RefusedError
from reactive_demo.listener.leadership import Leadership
from reactive_demo.options import Options
from tools.agreement import agree, cached
from tools.servers import PostgresServer
from tools.waiting import until

Listen = Callable[..., Listener]


@pytest.fixture
def eve(connection: psycopg.Connection, database: str) -> Iterator[psycopg.Connection]:
    """A role that may use the schema `reactive` and make tables of its own."""
    connection.execute("CREATE ROLE eve LOGIN")
    connection.execute("GRANT USAGE ON SCHEMA reactive TO eve; CREATE SCHEMA AUTHORIZATION eve")
    with psycopg.connect(database.replace("reactive_demo@", "eve@"), autocommit=True) as session:
        yield session
    connection.execute("DROP OWNED BY eve CASCADE; DROP ROLE eve")


FORGERIES = [
    "INSERT INTO reactive.change VALUES ('public.profile', NULL, 9, '9', now())",
    "SELECT reactive.record_change('public.profile', NULL)",
    "SELECT reactive.ring(1, 'public.profile')",
    "SELECT reactive.capture('eve.own')",
    "SELECT reactive.uncapture('public.profile')",
    "SELECT reactive.make_capture_function('eve.own')",
    "SELECT nextval('reactive.version')",
    "SELECT * FROM reactive.change",
    "CREATE TRIGGER t AFTER TRUNCATE ON eve.own EXECUTE FUNCTION reactive.record_truncation()",
    "CREATE TRIGGER t AFTER INSERT ON eve.own FOR EACH ROW EXECUTE FUNCTION reactive.{captures}()",
    "CREATE TRIGGER t AFTER INSERT ON reactive.change EXECUTE FUNCTION eve.own()",
    "CREATE FUNCTION reactive.bell(varchar) RETURNS bigint LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE reactive.mine (n int)",
]


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_role_with_usage_forges_nothing(
    connection: psycopg.Connection, eve: psycopg.Connection, forgery: str
) -> None:
    eve.execute("CREATE TABLE eve.own (id int PRIMARY KEY)")
    eve.execute("CREATE FUNCTION eve.own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'")
    (captures,) = connection.execute(
        "SELECT proname FROM pg_proc WHERE proname LIKE 'capture_public_profile%'"
    ).fetchone()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        eve.execute(forgery.format(captures=captures))


def test_everything_that_runs_with_our_rights_is_closed_to_the_public(
    connection: psycopg.Connection,
) -> None:
    """But version_made, which tells a transaction of its own changes only."""
    found = connection.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'reactive'::regnamespace AND prosecdef"
        " AND has_function_privilege('pg_database_owner', oid, 'EXECUTE')"
    )
    assert {name for (name,) in found} == {"version_made"}


def test_the_version_of_others_changes_is_not_told(database: str, eve: psycopg.Connection) -> None:
    with psycopg.connect(database) as other:
        (version,) = other.execute("SELECT reactive.increment('ada', 'likes')").fetchone()
        assert version
        ask = "SELECT reactive.version_made('public.profile', 'ada')"
        for end in (lambda: None, other.commit):
            end()
            with pytest.raises(psycopg.Error, match="this transaction has changed nothing yet"):
                eve.execute(ask)
            with eve.transaction():
                eve.execute("SELECT pg_current_xact_id()")
                assert eve.execute(ask).fetchone() == (None,)


def test_a_table_that_takes_the_name_of_another_empties_no_cache(
    database: str,
    connection: psycopg.Connection,
    eve: psycopg.Connection,
    cache: Cache,
    listen: Listen,
) -> None:
    """Its TRUNCATE counts for itself, whatever it was called when capture was put on it."""
    eve.execute("CREATE TABLE eve.goods (id int PRIMARY KEY)")
    install(database, "eve.goods")
    eve.execute("ALTER TABLE eve.goods RENAME TO moved")
    connection.execute("CREATE TABLE eve.goods (id int PRIMARY KEY)")
    install(database, "eve.goods")
    connection.execute("INSERT INTO eve.goods VALUES (1)")
    goods = Cache(cache.redis_url, "eve.goods")
    listen(database, goods)
    eve.execute("INSERT INTO eve.moved VALUES (1); TRUNCATE eve.moved")
    connection.execute("INSERT INTO eve.goods VALUES (2)")
    until("the second follows", lambda: set(cached(goods)) == {"1", "2"})


PLANTED = {
    "a function": "CREATE FUNCTION reactive.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a type": "CREATE TYPE reactive.f AS ENUM ('a')",
    "a table": "CREATE TABLE reactive.f (n int)",
    "a view": "CREATE VIEW reactive.f AS SELECT 1 AS n",
    "an operator": "CREATE OPERATOR reactive.= "
    "(LEFTARG = text, RIGHTARG = text, FUNCTION = pg_catalog.texteq)",
    "a trigger": "CREATE TRIGGER f BEFORE INSERT ON reactive.change"
    " FOR EACH ROW EXECUTE FUNCTION eve.f()",
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_a_stranger_has_planted_in_our_schema_is_refused(
    database: str, connection: psycopg.Connection, eve: psycopg.Connection, cache: Cache, what: str
) -> None:
    """By whoever would run it: an installer, a listener, a reader."""
    connection.execute("GRANT CREATE ON SCHEMA reactive TO eve")
    connection.execute("GRANT TRIGGER ON ALL TABLES IN SCHEMA reactive TO eve")
    eve.execute("CREATE FUNCTION eve.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'")
    eve.execute(PLANTED[what])
    with pytest.raises(RefusedError, match="belongs to eve"):
        install(database)
    with pytest.raises(RefusedError, match="belongs to eve"):
        ChangeTableFeed(database).open()
    with ReadThrough(database, cache) as rows, pytest.raises(RefusedError, match="belongs to eve"):
        rows.get("ada")


# A role that merely connects


def test_the_holder_of_the_leaders_lock_is_named_and_passed_over(
    database: str, eve: psycopg.Connection, cache: Cache, profiles: Profiles
) -> None:
    feed = ChangeTableFeed(database, options=Options(heartbeat=1, standby_poll=0.05))
    with Listener(feed, cache) as before:
        before.wait_until("live")
    lock = Leadership(feed, cache, takeover=False).lock
    eve.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [lock])
    said: list[str] = []
    with Listener(feed, cache) as listener:
        listener.observe(said.append)
        listener.wait_until("live", 10)
        assert any(f"process {eve.info.backend_pid} of eve" in words for words in said)
        profiles.increment("ada", "likes")
        agree(database, cache)


@pytest.mark.parametrize("how", ["", "_shared"])
def test_the_holder_of_the_bells_lock_stops_nothing(
    eve: psycopg.Connection, cache: Cache, profiles: Profiles, listen: Listen, how: str
) -> None:
    eve.execute(
        f"SELECT pg_advisory_lock{how}(hashtextextended('reactive bell public.profile', 0))"
    )
    database = profiles.database_url
    listener = listen(database, cache)
    for _ in range(3):
        profiles.increment("ada", "likes")
        agree(database, cache)
    listener.check()


def test_the_holder_of_the_installers_lock_is_named(database: str, eve: psycopg.Connection) -> None:
    eve.execute("SELECT pg_advisory_lock(hashtextextended('reactive_demo', 0))")
    with pytest.raises(LockTimeoutError, match=str(eve.info.backend_pid)):
        install(database, lock_wait=1)


def test_writes_succeed_and_arrive_while_the_queue_of_notifications_is_full(
    folder: Path, cache: Cache, listen: Listen
) -> None:
    server = PostgresServer(folder)
    server._server.prepare()
    with (server.data / "postgresql.conf").open("a") as settings:
        settings.write("max_notify_queue_pages = 64\n")
    server.start()
    try:
        install(server.url)
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute("CREATE ROLE eve LOGIN")
        url = server.url.replace("reactive_demo@", "eve@")
        with psycopg.connect(url) as deaf, psycopg.connect(url, autocommit=True) as loud:
            deaf.execute("LISTEN anything")
            deaf.commit()
            deaf.execute("BEGIN")  # in a transaction, nothing is taken from the queue
            deaf.execute("SELECT 1")
            with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                loud.execute(
                    "SELECT pg_notify('x', repeat('x', 7000) || n) FROM generate_series(1, 999) n"
                )
            (usage,) = loud.execute("SELECT pg_notification_queue_usage()").fetchone()
            assert usage > 0.9
            with Profiles(server.url) as profiles:
                profiles.increment("ada", "likes")
                listener = listen(
                    ChangeTableFeed(server.url, options=Options(heartbeat=0.2)), cache
                )
                for _ in range(3):
                    profiles.increment("ada", "likes")
                    agree(server.url, cache)
                listener.stop()
    finally:
        server.stop()
