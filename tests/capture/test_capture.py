"""Capture: each change of any table is noted, by key, and nobody's write is harmed by it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tools.agreement import agree, cached, carry, stored
from reactive_demo import Cache, Listener, Profiles, ReactiveDemoError, install, uninstall
from reactive_demo.errors import NotCapturedError
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.tutorial.chapter_setup import install_article
from tools.waiting import until

AWKWARD = """"O'Reilly's", $$, $body$ 100% %s %(x)s {0} \\u0041"""
"""The name of a table, a schema or a column that somebody puts together wrongly."""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def versions(connection: psycopg.Connection, table: str = "public.profile") -> dict[str, int]:
    """What the change table says, by key."""
    return dict(
        connection.execute(
            "SELECT key, version FROM reactive.change WHERE table_name = %s", [table]
        ).fetchall()
    )


def add(connection: psycopg.Connection, *names: str) -> None:
    for name in names:
        connection.execute("INSERT INTO public.profile VALUES (%s)", [name])


def catalogue(connection: psycopg.Connection) -> dict[str, Any]:
    """All that a release might leave behind."""
    kinds = {
        "functions": "SELECT oid::regprocedure::text, prosrc FROM pg_proc"
        " WHERE pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname = 'reactive')",
        "triggers": "SELECT tgrelid::regclass::text, tgname FROM pg_trigger",
        "relations": "SELECT oid, relname, relhastriggers FROM pg_class WHERE oid >= 16384"
        " AND relnamespace <> 'pg_toast'::regnamespace",
        "captured": "SELECT table_name FROM reactive.captured",
        "change": "SELECT table_name, key FROM reactive.change",
        "dependencies": "SELECT count(*) FROM pg_depend",
    }
    return {
        kind: sorted(connection.execute(statement.encode()).fetchall(), key=repr)
        for kind, statement in kinds.items()
    }


# Any table


KEYS = {
    "int": ["1", "-5"],
    "numeric": ["1.50", "1e40", "'NaN'"],
    "float8": ["0.1", "1e300", "'-Infinity'"],
    "uuid": ["'6f1c1f6e-7c59-4f0d-9f43-0d2f0a5c9d11'"],
    "timestamptz": ["'2024-02-29 12:00:00.123456+05'", "'infinity'", "'0044-03-15 12:00+00 BC'"],
    "date": ["'2024-02-29'"],
    "interval": ["'1 year -2 days 03:04:05.6'"],
    "bytea": [r"'\x00ff27'"],
    "boolean": ["true", "false"],
    "char(5)": ["'ab'"],
    'text COLLATE "C"': ["'ab'"],
    "inet": ["'10.0.0.0/8'"],
    "int[]": ["'{1,2}'"],
    "jsonb": ["""'{"a": [1, "x\\"y"]}'""", """'"text"'"""],
    "int4range": ["'[1,5)'"],
}

OTHER_SETTINGS = """
    SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601';
    SET bytea_output = 'escape'; SET extra_float_digits = -10;
"""


@pytest.mark.parametrize("keys", ["k", "k, n"], ids=["one column", "two columns"])
def test_keys_of_every_type_find_their_rows_whatever_the_writers_settings(
    database: str, connection: psycopg.Connection, cache: Cache, keys: str
) -> None:
    for number, (kind, values) in enumerate(KEYS.items()):
        table = f"t{number}"
        create = f"CREATE TABLE {table} (k {kind}, n int, v int, PRIMARY KEY ({keys}))"
        connection.execute(create.encode())
        connection.execute("SELECT reactive.capture(%s::regclass)", [table])
        cache = Cache(cache.redis_url, table)
        insert = f"INSERT INTO {table} VALUES (%s, 1, 0) ON CONFLICT ({keys}) DO UPDATE SET v = 1"
        for settings in ("RESET ALL", OTHER_SETTINGS):
            connection.execute(settings.encode())
            for value in values:
                connection.execute((insert % value).encode())
        carry(database, cache)
        assert [row["v"] for row in cached(cache).values()] == [1] * len(values), kind
        connection.execute(f"DELETE FROM {table}".encode())
        carry(database, cache)
        assert cached(cache) == {}, kind
        connection.execute((insert % values[0]).encode())
        carry(database, cache)
        changed = set(cached(cache))
        cache.forget_cursor()
        carry(database, cache)
        assert set(cached(cache)) == changed, "a fill writes the same key"


def test_several_key_columns_make_a_json_array(
    database: str, connection: psycopg.Connection, cache: Cache
) -> None:
    connection.execute("CREATE TABLE pair (v int, b text, a int, PRIMARY KEY (a, b))")
    install(database, "pair")
    connection.execute("""INSERT INTO pair VALUES (1, 'x', 1), (2, 'with "quotes", and more', 2)""")
    cache = Cache(cache.redis_url, "pair")
    carry(database, cache)
    assert set(cached(cache)) == {'[1, "x"]', r'[2, "with \"quotes\", and more"]'}
    assert cache.get('[1, "x"]') == {"v": 1, "b": "x", "a": 1}


def test_rows_of_a_partitioned_table_move_between_partitions(
    database: str, connection: psycopg.Connection, cache: Cache
) -> None:
    connection.execute(
        """
        CREATE TABLE area (id int, region text, n int, PRIMARY KEY (id, region))
        PARTITION BY LIST (region);
        CREATE TABLE area_eu PARTITION OF area FOR VALUES IN ('eu');
        CREATE TABLE area_us (n int, gone int, region text NOT NULL, id int NOT NULL);
        ALTER TABLE area_us DROP COLUMN gone;
        ALTER TABLE area ATTACH PARTITION area_us FOR VALUES IN ('us');
        """
    )
    install(database, "area")
    cache = Cache(cache.redis_url, "area")
    key = "json_build_array(id, region)::text"
    connection.execute("INSERT INTO area SELECT i, 'eu', 0 FROM generate_series(1, 10) i")
    carry(database, cache)
    agree(database, cache, key)
    connection.execute("UPDATE area SET region = 'us', n = 1 WHERE id <= 5")
    connection.execute("UPDATE area_us SET n = 2 WHERE id = 5")
    connection.execute("CREATE TABLE area_as PARTITION OF area FOR VALUES IN ('as')")
    connection.execute("INSERT INTO area_as VALUES (11, 'as', 3)")
    carry(database, cache)
    agree(database, cache, key)
    assert '[1, "eu"]' not in cached(cache)
    connection.execute("TRUNCATE area")
    carry(database, cache)
    assert cached(cache) == {}


def test_names_that_need_quotes_are_quoted(
    database: str, connection: psycopg.Connection, cache: Cache
) -> None:
    awkward = quoted(AWKWARD)
    table = f"{awkward}.{awkward}"
    connection.execute(f"CREATE SCHEMA {awkward}".encode())
    for n, name in enumerate([awkward, quoted("🐘" * 15 + "a"), quoted("🐘" * 15 + "b")]):
        connection.execute(
            f"CREATE TABLE {awkward}.{name} ({awkward} text, {quoted('the % b')} int, "
            f"PRIMARY KEY ({awkward}, {quoted('the % b')}), secret text)".encode()
        )
        install(database, f"{awkward}.{name}", exclude=["secret"] if n else [])
        connection.execute(f"INSERT INTO {awkward}.{name} VALUES ('a', 1, 's')".encode())
    with psycopg.connect(database) as other:
        functions = other.execute(
            "SELECT count(DISTINCT tgfoid) FROM pg_trigger WHERE tgname = 'reactive_capture'"
        )
        assert functions.fetchone() == (4,), "each table has a function of its own"
    for name in (table, f"{awkward}.{quoted('🐘' * 15 + 'b')}"):
        cache = Cache(cache.redis_url, name)
        carry(database, cache)
        assert set(cached(cache)) == {'["a", 1]'}
        connection.execute(f"UPDATE {name} SET secret = 'changed'".encode())
        connection.execute(f"DELETE FROM {name}".encode())
        carry(database, cache)
        assert cached(cache) == {}
        uninstall(database, name)


def test_equal_keys_that_are_written_otherwise_are_two_keys(
    database: str, connection: psycopg.Connection, cache: Cache
) -> None:
    connection.execute("CREATE TABLE price (k numeric PRIMARY KEY)")
    install(database, "price")
    connection.execute("INSERT INTO price VALUES (1.0)")
    cache = Cache(cache.redis_url, "price")
    carry(database, cache)
    connection.execute("UPDATE price SET k = 1.00")
    carry(database, cache)
    assert set(cached(cache)) == {"1.00"}


def test_every_kind_of_column_is_cached_as_it_is(
    database: str, connection: psycopg.Connection, cache: Cache
) -> None:
    connection.execute(
        r"""
        CREATE TYPE mood AS ENUM ('ok');
        CREATE TABLE odd (id int PRIMARY KEY, j json, b jsonb, p point, x bytea, u uuid,
                          t timestamptz, n numeric, m mood, a text[],
                          g int GENERATED ALWAYS AS (id + 1) STORED);
        """
    )
    install(database, "odd")
    connection.execute(
        r"""
        INSERT INTO odd VALUES
            (1, '{"a": 1, "a":  2, "z": "\u0000"}', '{"b": null}', '(1,2)', '\x00',
             gen_random_uuid(), 'infinity', 'NaN', 'ok', '{NULL,"a\"b"}'),
            (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        UPDATE odd SET j = '{"a": 1}' WHERE id = 1;
        UPDATE odd SET p = '(3,4)', j = '"\u0000"' WHERE id = 2;
        """
    )
    cache = Cache(cache.redis_url, "odd")
    carry(database, cache)
    agree(database, cache, "id::text")


def test_excluded_columns_are_absent_from_the_cache(
    database: str, connection: psycopg.Connection, cache: Cache
) -> None:
    connection.execute("CREATE TABLE account (id int PRIMARY KEY, name text, hash text, j json)")
    connection.execute(r"""INSERT INTO account VALUES (1, 'ada', 'secret', '"\u0000"')""")
    cache = Cache(cache.redis_url, "account")
    install(database, "account")
    carry(database, cache)
    assert cache.get("1")["hash"] == "secret"
    install(database, "account", exclude=["hash"])
    connection.execute("INSERT INTO account VALUES (2, 'bob', 'secret', '{}')")
    carry(database, cache)
    rows = cached(cache)
    assert [set(row) for row in rows.values()] == [{"id", "name", "j"}] * 2
    assert "secret" not in str(rows)


# What is refused


def test_a_table_without_primary_key_is_refused_and_says_why(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE heap (n int)")
    with pytest.raises(ReactiveDemoError, match="heap has no primary key Give it one"):
        install(database, "heap")


@pytest.mark.parametrize("column", ["username", "nonsense", "ctid", ""])
def test_a_column_that_cannot_be_left_out_is_named(database: str, column: str) -> None:
    with pytest.raises(ReactiveDemoError, match=f'column "?{column}"? cannot be left out'):
        install(database, exclude=[column])


def test_a_table_that_is_not_captured_cannot_be_followed(
    database: str, database_url: str, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE TABLE plain (id int PRIMARY KEY)")
    for table in ("plain", "absent"):
        with pytest.raises(NotCapturedError, match=f"reactive-demo install --table {table}"):
            ChangeTableFeed(database, table).open()
    uninstall(database_url)
    with pytest.raises(NotCapturedError):
        ChangeTableFeed(database).open()


def test_a_key_with_nul_is_a_clear_error(database: str, cache: Cache) -> None:
    with Profiles(database) as profiles, pytest.raises(psycopg.DataError, match=r"NUL \(0x00\)"):
        profiles.increment("a\0b", "likes")
    assert cache.get("a\0b") is None


# On and off


def test_installing_again_waits_for_nobody(database: str, connection: psycopg.Connection) -> None:
    with psycopg.connect(database) as busy:
        add(busy, "ada")  # holds the table, and the change table
        connection.execute("SET lock_timeout = '100ms'")
        connection.execute("SELECT reactive.capture('profile')")
        install(database)
        busy.execute("LOCK public.profile IN ACCESS SHARE MODE")
        install(database)


def test_installing_again_takes_no_lock_that_a_writer_would_wait_for(
    connection: psycopg.Connection,
) -> None:
    with connection.transaction():
        connection.execute("SELECT reactive.capture('profile')")
        held = connection.execute(
            "SELECT relation::regclass::text, mode FROM pg_locks"
            " WHERE pid = pg_backend_pid() AND relation > 16384"
        ).fetchall()
    assert {mode for _, mode in held} <= {"AccessShareLock"}


def test_uninstalling_where_nothing_is_waits_for_nobody(
    database: str, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with psycopg.connect(database) as busy:
        busy.execute("INSERT INTO t VALUES (1)")
        uninstall(database, "t")


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon."""
    monkeypatch.setattr("reactive_demo.capture.install.LOCK_TIMEOUT", 300)
    monkeypatch.setattr("reactive_demo.capture.install.PATIENCE", 0.2)


def test_a_table_that_stays_locked_is_named_with_who_locks_it_and_nothing_is_changed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    with psycopg.connect(database_url, application_name="accounts") as busy:
        busy.execute("CREATE TABLE t (id int PRIMARY KEY)")
        busy.commit()
        busy.execute("INSERT INTO t VALUES (1)")
        says = (
            rf"The table t stayed locked .* by process {busy.info.backend_pid} \(accounts, "
            r"idle in transaction, its last query begun \d+ s ago\), and was not changed"
        )
        with pytest.raises(ReactiveDemoError, match=says):
            install(database_url, "t")
        assert busy.execute("SELECT to_regclass('reactive.captured')").fetchone() == (None,)
        busy.commit()
        install(database_url, "t")
        busy.execute("INSERT INTO t VALUES (2)")
        before = catalogue(busy)
        with pytest.raises(ReactiveDemoError, match=says):
            uninstall(database_url, "t")
        assert catalogue(busy) == before


@pytest.mark.parametrize("change", [install, uninstall])
def test_a_long_transaction_holds_up_an_installation_but_not_the_writers(
    database: str, connection: psycopg.Connection, change: Callable[..., None]
) -> None:
    """Who waits for the table's lock has all writers wait behind: so it waits for a moment only."""
    connection.execute("CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0)")
    connection.execute("INSERT INTO t SELECT generate_series(1, 100)")
    if change is uninstall:
        install(database, "t")
    over, written = threading.Event(), [0, 0, 0]

    def write(number: int) -> None:
        with psycopg.connect(database, autocommit=True) as writer:
            while not over.is_set():
                writer.execute("UPDATE t SET n = n + 1 WHERE id = %s", [number])
                written[number] += 1

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, number) for number in range(3)]
        try:
            with psycopg.connect(database) as busy:
                busy.execute("UPDATE t SET n = n + 1 WHERE id = 50")
                changing = threads.submit(change, database, "t")
                until("it waits", lambda: connection.execute(WAITING).fetchall())
                until("it lets others by", lambda: not connection.execute(WAITING).fetchall())
                before = list(written)
                until("all write", lambda: all(map(int.__gt__, written, before)))
                assert not changing.done()
            changing.result(20)
            before = list(written)
            until("all write", lambda: all(map(int.__gt__, written, before)))
        finally:
            over.set()
        for one in writing:
            one.result(5)
    noted = connection.execute("SELECT FROM reactive.change WHERE table_name = 'public.t'")
    assert bool(noted.fetchall()) is (change is install)


def test_no_writer_fails_and_nobody_is_in_a_deadlock_while_capture_comes_and_goes(
    database: str, cache: Cache, listen: Callable[..., Listener]
) -> None:
    with psycopg.connect(database) as writer:
        add(writer, *(f"user {n}" for n in range(100)))
    listen(database, cache)
    over = threading.Event()

    def write(number: int) -> int:
        with psycopg.connect(database) as writer:
            count = 0
            while not over.is_set():
                for n in range(number, 100, 3):  # the same order for all: no deadlock of their own
                    writer.execute(
                        "UPDATE public.profile SET likes_count = likes_count + 1"
                        " WHERE username = %s",
                        [f"user {n}"],
                    )
                    count += 1
                writer.commit()
            return count

    with ThreadPoolExecutor(3) as threads:
        writing = [threads.submit(write, number) for number in range(3)]
        try:
            for _ in range(4):
                uninstall(database)
                install(database)
        finally:
            over.set()
        assert all(one.result(5) for one in writing)
    agree(database, cache)


WAITING = """
    SELECT FROM pg_locks WHERE NOT granted AND relation = 'public.t'::regclass
    AND mode IN ('ShareRowExclusiveLock', 'AccessExclusiveLock')
"""


def test_release_leaves_no_trace(database: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (9)")
    before = catalogue(connection)
    install(database, "t")
    connection.execute("INSERT INTO t VALUES (1)")
    assert catalogue(connection) != before
    uninstall(database, "t")
    after = catalogue(connection)
    for kind in ("functions", "triggers", "captured", "change", "dependencies"):
        assert after[kind] == before[kind]
    assert {row[:2] for row in after["relations"]} == {row[:2] for row in before["relations"]}


def test_uninstall_takes_off_everything_also_where_a_table_is_gone(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
        connection.execute("CREATE TABLE dropped (id int PRIMARY KEY)")
        count = "SELECT (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_trigger)"
        before = connection.execute(count.encode()).fetchone()
        for table in ("t", "dropped", "profile"):
            install(database_url, table)
        connection.execute("DROP TABLE dropped")
        uninstall(database_url)
        assert connection.execute(count.encode()).fetchone() == before
        connection.execute("INSERT INTO t VALUES (1)")


def test_install_and_the_articles_trigger_replace_each_other(database_url: str) -> None:
    on_profile = (
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'public.profile'::regclass ORDER BY 1"
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(2):
            install_article(database_url)
            assert connection.execute(on_profile).fetchall() == [("notify_profile",)]
            install(database_url)
            assert connection.execute(on_profile).fetchall() == [
                ("reactive_capture",),
                ("reactive_capture_truncate",),
            ]
        uninstall(database_url)
        assert connection.execute(on_profile).fetchall() == []


# What is noted


def test_an_update_that_changes_nothing_is_not_noted(connection: psycopg.Connection) -> None:
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


def test_what_is_rolled_back_to_a_savepoint_is_not_noted(
    database: str, connection: psycopg.Connection
) -> None:
    with psycopg.connect(database) as writer:
        add(writer, "kept")
        with writer.transaction(force_rollback=True):
            add(writer, "lost")
        add(writer, "kept too")
    assert set(versions(connection)) == {"kept", "kept too"}


def test_truncate_is_noted_for_the_table(connection: psycopg.Connection) -> None:
    add(connection, "ada")
    connection.execute("TRUNCATE public.profile")
    marker, last = connection.execute(
        "SELECT truncated_version, (SELECT max(version) FROM reactive.change)"
        " FROM reactive.captured"
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
            while not watching.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database()"
            ).fetchone():
                pass
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


def test_who_may_only_write_the_table_may_write_it(connection: psycopg.Connection) -> None:
    connection.execute("CREATE ROLE clerk")
    try:
        connection.execute("GRANT INSERT, SELECT, TRUNCATE ON public.profile TO clerk")
        connection.execute("SET ROLE clerk")
        add(connection, "ada")
        connection.execute("TRUNCATE public.profile")
        connection.execute("RESET ROLE")
        assert set(versions(connection)) == {"ada"}
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
