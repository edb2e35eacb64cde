"""The walk of chapter 11 with tables as readers have them: what fails says so, and how to go on."""

import psycopg
import pytest

from reactive_demo import (
    Cache,
    ChangeTableFeed,
    ConfigurationError,
    Listener,
    LogFeed,
    ReadThrough,
    RefusedError,
    Transaction,
    install,
)
from reactive_demo.keys import Key
from reactive_demo.tools.doctor import examine_table

TABLES: dict[str, tuple[str, Key, str]] = {
    "measurement": (
        """CREATE TABLE measurement (taken date, sensor int, celsius numeric(4,1),
               PRIMARY KEY (taken, sensor)) PARTITION BY RANGE (taken);
           CREATE TABLE measurement_old PARTITION OF measurement DEFAULT;
           INSERT INTO measurement VALUES ('2026-01-02', 7, 20.5)""",
        ("2026-01-02", 7),
        "celsius = 21",
    ),
    "tariff": (
        """CREATE TYPE level AS ENUM ('low', 'high');
           CREATE TABLE tariff (rate numeric(10,2) PRIMARY KEY, level level);
           INSERT INTO tariff VALUES (5, 'low')""",
        5,
        "level = 'high'",
    ),
    '"Invoice"': (
        """CREATE TABLE "Invoice" ("Number" int PRIMARY KEY, version int, "row" text, key text);
           INSERT INTO "Invoice" VALUES (1, 1, 'first', 'k')""",
        1,
        "version = 2, \"row\" = 'second'",
    ),
}


@pytest.mark.parametrize("feed", [ChangeTableFeed, LogFeed])
@pytest.mark.parametrize("table", TABLES)
def test_a_readers_table_is_followed_to_the_end(
    table: str, feed: type[ChangeTableFeed | LogFeed], empty_database: str, valkey_url: str
) -> None:
    made, key, change = TABLES[table]
    with psycopg.connect(empty_database, autocommit=True) as app:
        app.execute(made.encode())
        assert examine_table(empty_database, table).healthy
        install(empty_database, table, feed=feed.kind)
        cache = Cache(valkey_url, table)
        with Listener(feed(empty_database, table), cache) as listener:
            listener.wait_until("live", timeout=30)
            assert cache.get(key)
            with Transaction(app, table) as written:
                app.execute(f"UPDATE {table} SET {change}".encode())
            cache.wait_for(key, written.version(key))
            row = cache.get(key)
            (stored,) = app.execute(f"SELECT row_to_json(t) FROM {table} t".encode()).fetchone()  # type: ignore[misc]
            assert row == stored
            with ReadThrough(empty_database, cache) as rows:
                assert rows.get(key) == row
        cache.close()


def test_a_name_that_needs_quotes_or_its_schema_is_told_so(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as app:
        app.execute('CREATE SCHEMA sales; CREATE TABLE sales."Invoice" (id int PRIMARY KEY)')
    for name in ("Invoice", "invoice", "sales.Invoice", '"Invoice"', "public.invoice"):
        with pytest.raises(RefusedError, match=r'no table .*: write sales."Invoice", if you mean'):
            install(empty_database, name)
        (line,) = examine_table(empty_database, name).lines
        assert 'write sales."Invoice"' in line.words
    with pytest.raises(RefusedError, match="create it, or name another"):
        install(empty_database, "Receipt")


@pytest.mark.parametrize("wrong", ["localhost:6379", "http://localhost", "redis://x:port/0"])
def test_a_url_that_is_none_is_told_so(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="cache's URL"):
        Cache(wrong, "orders")
