"""Any table with a primary key is captured, whatever its key, columns and name."""

from decimal import Decimal
from typing import Any

import psycopg
import pytest

from reactive_demo import (
    Cache,
    ChangeTableFeed,
    LogFeed,
    ReadThrough,
    RefusedError,
    install,
    uninstall,
)
from tools.agreement import agree, cached, carry

AWKWARD = """"O'Reilly's", $$, $body$ 100% %s %(x)s {0} \\u0041"""
"""The name of a table, a schema or a column that somebody puts together wrongly."""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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


@pytest.mark.parametrize("make_feed", [ChangeTableFeed, LogFeed])
def test_equal_numbers_are_one_key_however_they_are_written(
    database: str, connection: psycopg.Connection, cache: Cache, make_feed: type[Any]
) -> None:
    connection.execute("CREATE TABLE price (k numeric PRIMARY KEY)")
    install(database, "price", feed="log" if make_feed is LogFeed else "change table")
    connection.execute("INSERT INTO price VALUES (1.0), (200), (0.50), ('NaN')")
    cache, feed = Cache(cache.redis_url, "price"), make_feed(database, "price")
    carry(feed, cache)
    connection.execute("UPDATE price SET k = 1.00 WHERE k = 1")
    carry(feed, cache)
    assert set(cached(cache)) == {"1", "200", "0.5", "NaN"}
    assert cache.get(1) == cache.get(Decimal("1.000")) == {"k": 1.0}
    with ReadThrough(database, cache) as rows:
        assert rows.get(Decimal("0.500")) == {"k": 0.5}
    connection.execute("DELETE FROM price WHERE k = 1")
    carry(feed, cache)
    assert cache.get(1) is None


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


@pytest.mark.parametrize("keys", ["k", "k, n"], ids=["one column", "two columns"])
@pytest.mark.parametrize("kind", ["int", "numeric(9, 2)", "boolean", "inet", "whole"])
def test_a_key_that_is_given_another_type_makes_no_write_fail(
    database: str, connection: psycopg.Connection, cache: Cache, keys: str, kind: str
) -> None:
    connection.execute("CREATE DOMAIN whole AS int")
    connection.execute(f"CREATE TABLE ticket (k {kind}, n int, PRIMARY KEY ({keys}))".encode())
    install(database, "ticket")
    connection.execute("ALTER TABLE ticket ALTER k TYPE text")
    with psycopg.connect(database, autocommit=True) as app:
        app.execute("INSERT INTO ticket VALUES ('A-1', 1)")
        app.execute("UPDATE ticket SET k = 'A-2'")
    install(database, "ticket")
    cache = Cache(cache.redis_url, "ticket")
    carry(database, cache)
    key = "k" if keys == "k" else "jsonb_build_array(k, n)::text"
    agree(database, cache, key)


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


def test_a_key_that_two_transactions_may_have_at_once_is_refused(
    database: str, connection: psycopg.Connection
) -> None:
    connection.execute(
        "CREATE TABLE seat (n int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, who text)"
    )
    with pytest.raises(RefusedError, match="initially deferred"):
        install(database, "seat")
    connection.execute("INSERT INTO seat VALUES (1, 'ada')")
