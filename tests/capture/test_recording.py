"""Each change is recorded, by key, and nobody's write is harmed by it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg

from reactive_demo import Cache, Profiles, install, uninstall
from tools.agreement import agree, cached, carry, stored
from tools.waiting import until


def versions(connection: psycopg.Connection, table: str = "public.profile") -> dict[str, int]:
    """What the change table says, by key."""
    return dict(
        connection.execute(
            "SELECT key, max(version) FROM reactive.change WHERE table_name = %s GROUP BY key",
            [table],
        ).fetchall()
    )


def add(connection: psycopg.Connection, *names: str) -> None:
    for name in names:
        connection.execute("INSERT INTO public.profile VALUES (%s)", [name])


# What is recorded


def test_an_update_that_changes_nothing_is_not_recorded(connection: psycopg.Connection) -> None:
    add(connection, "ada")
    before = versions(connection)
    connection.execute("UPDATE public.profile SET likes_count = likes_count")
    assert versions(connection) == before


def test_a_changed_key_marks_both(connection: psycopg.Connection) -> None:
    add(connection, "ada")
    before = versions(connection)["ada"]
    connection.execute("UPDATE public.profile SET username = 'bob'")
    after = versions(connection)
    assert min(after["ada"], after["bob"]) > before


def test_two_keys_swapped_in_one_statement_are_both_present(
    database: str, connection: psycopg.Connection, cache: Cache
) -> None:
    connection.execute("CREATE TABLE seat (n int PRIMARY KEY DEFERRABLE, who text)")
    install(database, "seat")
    connection.execute("INSERT INTO seat VALUES (1, 'ada'), (2, 'bob')")
    cache = Cache(cache.redis_url, "seat")
    carry(database, cache)
    connection.execute("UPDATE seat SET n = 3 - n")
    carry(database, cache)
    assert {k: row["who"] for k, row in cached(cache).items()} == {"1": "bob", "2": "ada"}


def test_what_is_rolled_back_to_a_savepoint_is_not_recorded(
    database: str, connection: psycopg.Connection
) -> None:
    with psycopg.connect(database) as writer:
        add(writer, "kept")
        with writer.transaction(force_rollback=True):
            add(writer, "lost")
        add(writer, "kept too")
    assert set(versions(connection)) == {"kept", "kept too"}


def test_truncate_is_recorded_for_the_table(connection: psycopg.Connection) -> None:
    add(connection, "ada")
    connection.execute("TRUNCATE public.profile")
    marker, last = connection.execute(
        "SELECT max(version) FILTER (WHERE key IS NULL), max(version) FILTER (WHERE key = 'ada')"
        " FROM reactive.change"
    ).fetchone()
    assert marker > last
    add(connection, "ada")
    assert versions(connection)["ada"] > marker


def test_many_changes_at_once_read_no_change_table_from_end_to_end(
    connection: psycopg.Connection,
) -> None:
    """A plan that was made while it was empty, and known to be, would: 20,000 rows took 37 s."""
    connection.execute("ALTER TABLE public.profile DISABLE TRIGGER USER")
    connection.execute("INSERT INTO public.profile SELECT generate_series(1, 1000)")
    connection.execute("ALTER TABLE public.profile ENABLE TRIGGER USER")
    connection.execute("VACUUM ANALYZE reactive.change")
    with connection.transaction():
        connection.execute("UPDATE public.profile SET likes_count = 1")
        connection.execute("UPDATE public.profile SET username = username || '!'")
        connection.execute("DELETE FROM public.profile")
        read = connection.execute(
            "SELECT pg_stat_get_xact_tuples_returned('reactive.change'::regclass)"
        )
        assert read.fetchone() == (0,)


def test_64_writers_of_one_key_make_its_version_grow(
    database: str, connection: psycopg.Connection
) -> None:
    """In the order in which they commit: deleted and inserted again as well as changed."""
    connection.execute("CREATE TABLE seen (n bigserial, version bigint)")
    together = threading.Barrier(32)

    def write(number: int) -> None:
        with psycopg.connect(database, autocommit=True) as writer:
            if number < 32:
                together.wait(20)
            for turn in range(5):
                with writer.transaction():
                    if (number + turn) % 3 == 0:
                        writer.execute("DELETE FROM public.profile WHERE username = 'ada'")
                    else:
                        writer.execute("SELECT reactive.increment('ada', 'likes')")
                    # Under the lock of the key's row: in the order of the commits.
                    writer.execute(
                        "INSERT INTO seen (version) SELECT version FROM reactive.change"
                        " WHERE key = 'ada' AND xid = pg_current_xact_id()"
                    )

    with ThreadPoolExecutor(32) as writers:
        list(writers.map(write, range(64)))
    seen = [v for (v,) in connection.execute("SELECT version FROM seen ORDER BY n").fetchall()]
    assert len(seen) > 150
    assert seen == sorted(set(seen))
    assert versions(connection)["ada"] == seen[-1]


def test_an_insertion_that_waited_for_a_deletion_is_newer(
    database: str, connection: psycopg.Connection
) -> None:
    add(connection, "ada")
    with psycopg.connect(database) as deleting, ThreadPoolExecutor(1) as other:
        deleting.execute("DELETE FROM public.profile")
        inserting = other.submit(add, connection, "ada")
        with psycopg.connect(database, autocommit=True) as watching:
            waiting = (
                "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database()"
            )
            until("it waits", lambda: watching.execute(waiting).fetchall())
        deleting.execute("DELETE FROM public.profile WHERE username = 'nobody'")
        deleted = versions(deleting)["ada"]
        deleting.commit()
        inserting.result(5)
    assert versions(connection)["ada"] > deleted


# Harmless


def test_a_hostile_search_path_and_temporary_tables_change_nothing(
    database: str, connection: psycopg.Connection
) -> None:
    connection.execute(
        """
        CREATE SCHEMA evil;
        CREATE FUNCTION evil.nextval(text) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
        CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql
            AS $$ SELECT 'epoch'::timestamptz $$;
        CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
        SET search_path = evil, pg_catalog, public;
        CREATE TEMP TABLE profile (n int);
        CREATE TEMP TABLE change (n int);
        CREATE TEMP TABLE captured (n int);
        """
    )
    add(connection, "ada", "bob")
    connection.execute("UPDATE public.profile SET likes_count = 1 WHERE username LIKE 'ada'")
    with psycopg.connect(database) as plain:
        found = versions(plain)
        assert set(found) == {"ada", "bob"}
        assert found["ada"] > found["bob"] > 0
        assert plain.execute(
            "SELECT count(*) FROM reactive.change WHERE changed_at < now() - interval '1 hour'"
        ).fetchone() == (0,)


def test_an_account_that_may_only_write_the_table_may_write_it(
    connection: psycopg.Connection,
) -> None:
    connection.execute("CREATE ROLE clerk")
    try:
        connection.execute("GRANT INSERT, SELECT, TRUNCATE ON public.profile TO clerk")
        connection.execute("SET ROLE clerk")
        add(connection, "ada")
        connection.execute("TRUNCATE public.profile")
        connection.execute("RESET ROLE")
        assert set(versions(connection)) == {"ada", None}
    finally:
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY clerk; DROP ROLE clerk")


def test_odd_keys_are_carried_as_they_are(
    database: str, connection: psycopg.Connection, cache: Cache, odd_names: list[str]
) -> None:
    names = [
        *odd_names,
        *("NULL", "null", " ", "[1, 2]", "x" * 1024, "🐘" * 256),
    ]
    add(connection, *names)
    carry(database, cache)
    agree(database, cache)
    connection.execute("UPDATE public.profile SET username = username || '!'")
    carry(database, cache)
    agree(database, cache)
    cache.forget_cursor()
    carry(database, cache)
    agree(database, cache)
    connection.execute("DELETE FROM public.profile")
    carry(database, cache)
    assert cached(cache) == {}


# Reading one's own writes


def test_increment_returns_the_version_of_its_change(
    database: str, connection: psycopg.Connection
) -> None:
    with Profiles(database) as profiles:
        for _ in range(3):
            assert profiles.increment("ada", "likes") == versions(connection)["ada"]


def test_increment_returns_no_version_of_an_earlier_transaction(
    database: str, connection: psycopg.Connection
) -> None:
    assert connection.execute("SELECT reactive.increment('ada', 'likes')").fetchone()[0] > 0
    uninstall(database, "profile")
    assert connection.execute("SELECT reactive.increment('ada', 'likes')").fetchone() == (None,)
    assert stored(database)["ada"]["likes_count"] == 2
