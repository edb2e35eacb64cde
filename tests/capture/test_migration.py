"""What an earlier version, or a stranger, left behind becomes today's with the next `install`."""

from collections.abc import Callable

import psycopg
import pytest

from reactive_demo import Cache, Listener, Profiles, install, uninstall
from reactive_demo.capture.install import execute_files
from reactive_demo.errors import NotCapturedError
from reactive_demo.feeds import ChangeTableFeed
from tools.waiting import until

ONE_ROW_A_KEY = """
    CREATE SEQUENCE reactive.version;
    CREATE TABLE reactive.change (
        table_name text NOT NULL, key text NOT NULL, version bigint NOT NULL, xid xid8 NOT NULL,
        changed_at timestamptz NOT NULL, PRIMARY KEY (table_name, key));
    CREATE INDEX change_xid ON reactive.change (table_name, xid);
    CREATE TABLE reactive.captured (
        table_name text PRIMARY KEY, key_columns text[] NOT NULL,
        excluded text[] NOT NULL DEFAULT '{}',
        incarnation uuid NOT NULL DEFAULT gen_random_uuid(),
        truncated_version bigint NOT NULL DEFAULT 0, truncated_xid xid8 NOT NULL DEFAULT '0',
        pruned_xid xid8 NOT NULL DEFAULT '0');
    CREATE FUNCTION reactive.mark(name text, changed text) RETURNS void LANGUAGE sql AS $$
        INSERT INTO reactive.change AS c
        VALUES (name, changed, nextval('reactive.version'), pg_current_xact_id(), clock_timestamp())
        ON CONFLICT (table_name, key) DO UPDATE
        SET version = nextval('reactive.version'), xid = excluded.xid,
            changed_at = excluded.changed_at
    $$;
    CREATE FUNCTION reactive.key_of(relation regclass, source text) RETURNS text LANGUAGE sql
    AS 'SELECT source';
    CREATE FUNCTION reactive.release(relation regclass) RETURNS void LANGUAGE sql AS '';
    CREATE FUNCTION reactive.mark_truncated() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER AS $$ BEGIN
        UPDATE reactive.captured
        SET truncated_version = nextval('reactive.version'), truncated_xid = pg_current_xact_id()
        WHERE table_name = TG_ARGV[0];
        RETURN NULL;
    END $$;
    CREATE FUNCTION reactive.function_of(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT left(regexp_replace('capture_' || name, '[^a-zA-Z0-9]+', '_', 'g'), 50)
            || '_' || left(md5(name), 8)
    $$;
    CREATE FUNCTION reactive.old_capture(name text, key text) RETURNS void LANGUAGE plpgsql AS $do$
    BEGIN
        EXECUTE format($sql$
            CREATE FUNCTION reactive.%1$I() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER AS $body$ BEGIN
                IF TG_OP = 'DELETE' THEN PERFORM reactive.mark(%2$L, OLD.%3$I::text);
                ELSE PERFORM reactive.mark(%2$L, NEW.%3$I::text); END IF;
                RETURN NULL;
            END $body$;
            CREATE TRIGGER reactive_capture AFTER INSERT OR UPDATE OR DELETE ON %2$s
            FOR EACH ROW EXECUTE FUNCTION reactive.%1$I();
            CREATE TRIGGER reactive_capture_truncate AFTER TRUNCATE ON %2$s
            FOR EACH STATEMENT EXECUTE FUNCTION reactive.mark_truncated(%2$L, '7');
            ALTER TABLE %2$s ENABLE ALWAYS TRIGGER reactive_capture,
                ENABLE ALWAYS TRIGGER reactive_capture_truncate
            $sql$, reactive.function_of(name), name, key);
        INSERT INTO reactive.captured (table_name, key_columns) VALUES (name, ARRAY[key]);
    END $do$;
    CREATE TABLE public."Order" (id int PRIMARY KEY, note text);
    SELECT reactive.old_capture('public.profile', 'username');
    SELECT reactive.old_capture('public."Order"', 'id');
    DROP FUNCTION reactive.old_capture;
    INSERT INTO public.profile VALUES ('ada', 1, 2, 3), ('grace', 4, 5, 6);
    INSERT INTO public."Order" VALUES (1, 'a'), (2, 'b');
    TRUNCATE public."Order";
    INSERT INTO public."Order" VALUES (2, 'c'), (3, 'd');
"""
"""The layout of the first versions, with two captured tables that have rows."""

LEFT_OVER = """
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = 'reactive'::regnamespace
      AND p.proname = ANY ('{mark,mark_truncated,release,key_of}')
    UNION ALL SELECT conname::text FROM pg_constraint
    WHERE conrelid = 'reactive.change'::regclass AND contype = 'p'
    UNION ALL SELECT attname::text FROM pg_attribute
    WHERE attrelid = 'reactive.captured'::regclass AND attname LIKE 'truncated%'
      AND NOT attisdropped
"""


@pytest.fixture
def old_database(empty_database: str) -> str:
    """A database as the first versions left it."""
    with psycopg.connect(empty_database, autocommit=True) as connection:
        execute_files(connection, ["01_profile.sql", "02_increment.sql"])
        connection.execute(ONE_ROW_A_KEY.encode())
    return empty_database


@pytest.mark.parametrize("installed", ["profile", '"Order"'])
def test_the_first_layout_is_migrated_with_all_its_tables(
    installed: str, old_database: str, cache_url: str, listen: Callable[..., Listener]
) -> None:
    caches = {table: Cache(cache_url, table) for table in ("profile", '"Order"')}
    install(old_database, installed)
    for cache in caches.values():
        listen(old_database, cache)
    with psycopg.connect(old_database, autocommit=True) as connection:
        assert connection.execute(LEFT_OVER).fetchall() == []
        connection.execute("UPDATE public.profile SET likes_count = 7 WHERE username = 'grace'")
        connection.execute("DELETE FROM public.profile WHERE username = 'ada'")
        connection.execute('TRUNCATE public."Order"')
        connection.execute("INSERT INTO public.\"Order\" VALUES (3, 'e')")
        order = caches['"Order"']
        until("the order is there", lambda: order.get("3") == {"id": 3, "note": "e"})
        until("the truncated one is gone", lambda: order.get("2") is None)
        until("the deleted one is gone", lambda: caches["profile"].get("ada") is None)
        until(
            "the changed one is there", lambda: caches["profile"].get("grace")["likes_count"] == 7
        )
        install(old_database, installed)
    uninstall(old_database)
    with psycopg.connect(old_database, autocommit=True) as connection:
        gone = connection.execute("SELECT to_regnamespace('reactive')").fetchone()
        assert gone == (None,)
    for cache in caches.values():
        cache.close()


def test_versions_go_on_where_the_first_layout_left_off(old_database: str) -> None:
    with psycopg.connect(old_database, autocommit=True) as connection:
        (before,) = connection.execute("SELECT max(version) FROM reactive.change").fetchone()
    install(old_database)
    with Profiles(old_database) as profiles:
        assert profiles.increment("ada", "likes") > before


FUNCTION = """
    SELECT p.oid::regprocedure::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = 'public.profile'::regclass AND t.tgname = 'reactive_capture'
"""


@pytest.mark.parametrize(
    "harm",
    [
        "CREATE OR REPLACE FUNCTION {} RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",  # noqa: E501
        "ALTER FUNCTION {} SECURITY INVOKER",
        "ALTER TABLE public.profile DISABLE TRIGGER reactive_capture",
        "ALTER TABLE public.profile ENABLE TRIGGER reactive_capture",
        "ALTER TABLE public.profile DISABLE TRIGGER reactive_capture_truncate",
        "DROP TRIGGER reactive_capture ON public.profile",
        "DROP TRIGGER reactive_capture_truncate ON public.profile",
        "DROP FUNCTION {} CASCADE",
        "DROP FUNCTION reactive.record_truncation CASCADE",
        "DROP FUNCTION reactive.record_change CASCADE",
        "DROP INDEX reactive.change_xid",
    ],
)
def test_install_restores_what_somebody_changed(
    harm: str,
    database: str,
    connection: psycopg.Connection,
    cache: Cache,
    listen: Callable[..., Listener],
) -> None:
    (function,) = connection.execute(FUNCTION).fetchone()
    connection.execute(harm.replace("{}", function).encode())
    connection.execute("INSERT INTO public.profile VALUES ('missed')")
    install(database)
    listen(database, cache)
    connection.execute("INSERT INTO public.profile VALUES ('ada')")
    until("both are cached", lambda: cache.get("ada") and cache.get("missed"))
    connection.execute("TRUNCATE public.profile")
    until("the truncation is heard", lambda: cache.get("ada") is None)


def test_a_replaced_function_is_noticed_until_then(
    database: str, connection: psycopg.Connection
) -> None:
    (function,) = connection.execute(FUNCTION).fetchone()
    connection.execute(
        f"CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " AS 'BEGIN RETURN NULL; END'".encode()
    )
    with pytest.raises(NotCapturedError, match="its function was replaced"):
        ChangeTableFeed(database).open()
