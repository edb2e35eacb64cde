"""The owner of a captured table gains no rights but its own, whatever its types and table do.

A superuser installs, writes, listens, reads through and audits; the owner is an ordinary role.
"""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from reactive_demo import (
    Cache,
    ChangeTableFeed,
    Listener,
    LogFeed,
    ReadThrough,
    install,
    uninstall,
)
from reactive_demo.errors import NotCapturedError
from reactive_demo.options import Options
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tools.audit import audit, repair
from reactive_demo.waiting import StopEvent
from tools.agreement import cached, carry
from tools.waiting import until

SHOP = """
    DROP ROLE IF EXISTS mallory;
    CREATE ROLE mallory;
    CREATE SCHEMA shop AUTHORIZATION mallory;
    CREATE TABLE shop.touched (what text, who text);
    CREATE SEQUENCE shop.touches;
    GRANT ALL ON shop.touched, shop.touches TO PUBLIC;
    CREATE FUNCTION shop.spy(text) RETURNS bool LANGUAGE plpgsql
    SET search_path = pg_catalog AS $$ BEGIN
        IF current_user <> 'mallory' THEN PERFORM nextval('shop.touches');
        END IF;
        IF NOT current_setting('transaction_read_only')::boolean THEN
            INSERT INTO shop.touched VALUES ($1, current_user);
        END IF;
        RETURN true;
    END $$;
    SET ROLE mallory;
"""

MOOD = """
    CREATE TYPE shop.mood AS ENUM ('sad', 'ok', 'glad', '1', '2');
    CREATE FUNCTION shop.as_text(shop.mood) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN PERFORM shop.spy('to text'); RETURN 'ok'; END $$;
    CREATE FUNCTION shop.as_json(shop.mood) RETURNS json LANGUAGE plpgsql AS
        $$ BEGIN PERFORM shop.spy('to json'); RETURN '"ok"'; END $$;
    CREATE FUNCTION shop.as_jsonb(shop.mood) RETURNS jsonb LANGUAGE plpgsql AS
        $$ BEGIN PERFORM shop.spy('to jsonb'); RETURN '"ok"'; END $$;
    CREATE FUNCTION shop.as_int(shop.mood) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN PERFORM shop.spy('to int'); RETURN 1; END $$;
    CREATE FUNCTION shop.of_text(text) RETURNS shop.mood LANGUAGE plpgsql AS
        $$ BEGIN PERFORM shop.spy('from text'); RETURN 'ok'; END $$;
    CREATE FUNCTION shop.texts_of(shop.mood[]) RETURNS text[] LANGUAGE plpgsql AS
        $$ BEGIN PERFORM shop.spy('to texts'); RETURN '{ok}'; END $$;
    CREATE FUNCTION shop.json_of(shop.mood[]) RETURNS json LANGUAGE plpgsql AS
        $$ BEGIN PERFORM shop.spy('array to json'); RETURN '["ok"]'; END $$;
"""
CASTS = """
    CREATE CAST (shop.mood AS text) WITH FUNCTION shop.as_text AS ASSIGNMENT;
    CREATE CAST (shop.mood AS json) WITH FUNCTION shop.as_json AS ASSIGNMENT;
    CREATE CAST (shop.mood AS jsonb) WITH FUNCTION shop.as_jsonb AS ASSIGNMENT;
    CREATE CAST (shop.mood AS int) WITH FUNCTION shop.as_int AS ASSIGNMENT;
    CREATE CAST (text AS shop.mood) WITH FUNCTION shop.of_text AS ASSIGNMENT;
    CREATE CAST (shop.mood[] AS text[]) WITH FUNCTION shop.texts_of AS ASSIGNMENT;
    CREATE CAST (shop.mood[] AS json) WITH FUNCTION shop.json_of AS ASSIGNMENT;
"""
CHECKED = """
    CREATE DOMAIN shop.checked AS text CHECK (shop.spy('check'));
    CREATE DOMAIN shop.moody AS shop.mood CHECK (shop.spy('check'));
    CREATE TYPE shop.pair AS (mood shop.mood, n int);
    CREATE TYPE shop.span AS RANGE (SUBTYPE = int);
    CREATE FUNCTION shop.span_json(shop.span) RETURNS json LANGUAGE plpgsql AS
        $$ BEGIN PERFORM shop.spy('range to json'); RETURN '"ok"'; END $$;
    CREATE CAST (shop.span AS json) WITH FUNCTION shop.span_json;
"""

TABLES = {
    "an enum as key": ("id shop.mood PRIMARY KEY, n int", "'glad', 1"),
    "an enum in a key": ("id shop.mood, k int, n int, PRIMARY KEY (id, k)", "'glad', 1, 1"),
    "a domain as key": ("id shop.checked PRIMARY KEY, n int", "'glad', 1"),
    "a domain in a key": ("id shop.moody, k int, n int, PRIMARY KEY (k, id)", "'sad', 1, 1"),
    "an array as key": ("id shop.mood[] PRIMARY KEY, n int", "'{glad,ok}', 1"),
    "a range as key": ("id shop.span PRIMARY KEY, n int", "'[1,3)', 1"),
    "an enum": ("id int PRIMARY KEY, n int, m shop.mood", "1, 1, 'glad'"),
    "a domain": ("id int PRIMARY KEY, n int, m shop.moody, c shop.checked", "1, 1, 'sad', 'x'"),
    "an array": ("id int PRIMARY KEY, n int, m shop.mood[]", "1, 1, '{sad,glad}'"),
    "domains": ("id int PRIMARY KEY, n int, m shop.moody[]", "1, 1, '{sad,glad}'"),
    "a row": ("id int PRIMARY KEY, n int, m shop.pair", "1, 1, '(glad,1)'"),
    "rows": ("id int PRIMARY KEY, n int, m shop.pair[]", "1, 1, '{\"(glad,1)\"}'"),
    "a range": ("id int PRIMARY KEY, n int, m shop.span", "1, 1, '[1,2)'"),
    "a rule of the table's": ("id int PRIMARY KEY CHECK (shop.spy('row')), n int", "1, 1"),
    "a default": ("id int PRIMARY KEY, n int, m bool DEFAULT shop.spy('default')", "1, 1"),
}


@pytest.fixture
def database(empty_database: str) -> str:
    """A database that belongs to a superuser."""
    return empty_database


@pytest.fixture
def shop(connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A session of the owner; in the end, nothing of its own ran with other rights."""
    connection.execute(SHOP)
    yield connection
    connection.execute("RESET ROLE")
    try:
        told = connection.execute("SELECT DISTINCT * FROM shop.touched WHERE who <> 'mallory'")
        assert told.fetchall() == []
        assert connection.execute("SELECT is_called FROM shop.touches").fetchone() == (False,)
    finally:
        connection.execute("DROP OWNED BY mallory CASCADE; DROP ROLE mallory")


@pytest.fixture
def goods(cache: Cache) -> Cache:
    return Cache(cache.redis_url, "shop.goods")


def use(database: str, goods: Cache) -> None:
    """Read the one row in every way."""
    feed = ChangeTableFeed(database, "shop.goods")
    carry(feed, goods)
    (key,) = goods.scan()
    assert goods.get(key)
    with ReadThrough(database, goods) as rows, open_redis(goods.redis_url) as client:
        client.unlink(goods.redis_key(key))
        assert rows.get(key) == goods.get(key)
        assert rows.get("nothing") is None
        client.hset(goods.redis_key(key), "row", '{"n": -1}')
        report = audit(database, goods, again=(0.1,))
        assert [difference.key for difference in report.wrong] == [key]
        assert repair(database, goods, report).repaired == 1


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_types_and_rules_of_the_owner(
    database: str, shop: psycopg.Connection, goods: Cache, kind: str, when: str
) -> None:
    columns, values = TABLES[kind]
    shop.execute(MOOD)
    if when == "before":
        shop.execute(CASTS)
    shop.execute(CHECKED)
    shop.execute(f"CREATE TABLE shop.goods ({columns})")
    install(database, "shop.goods")
    shop.execute(f"INSERT INTO shop.goods VALUES ({values})")
    carry(ChangeTableFeed(database, "shop.goods"), goods)
    if when == "after":
        shop.execute(CASTS)
    shop.execute("UPDATE shop.goods SET n = 2")
    use(database, goods)
    install(database, "shop.goods")
    shop.execute("DELETE FROM shop.goods; TRUNCATE shop.goods")
    carry(ChangeTableFeed(database, "shop.goods"), goods)
    assert cached(goods) == {}
    uninstall(database, "shop.goods")


@pytest.mark.parametrize("kind", TABLES)
def test_the_log_of_the_owners_table(
    database: str,
    shop: psycopg.Connection,
    goods: Cache,
    listen: Callable[..., Listener],
    kind: str,
) -> None:
    columns, values = TABLES[kind]
    shop.execute(MOOD + CASTS + CHECKED)
    shop.execute(f"CREATE TABLE shop.goods ({columns})")
    shop.execute(f"INSERT INTO shop.goods VALUES ({values})")
    install(database, "shop.goods", feed="log")
    listener = listen(LogFeed(database, "shop.goods", options=Options(heartbeat=0.1)), goods)
    (key,) = goods.scan()
    shop.execute("UPDATE shop.goods SET n = 2")
    until("the row is new", lambda: (goods.get(key) or {}).get("n") == 2)
    shop.execute("DELETE FROM shop.goods")
    until("the row is gone", lambda: cached(goods) == {})
    listener.stop()
    uninstall(database, "shop.goods")


def test_an_owner_that_alters_the_table_before_the_cache_is_filled(
    database: str, shop: psycopg.Connection
) -> None:
    """The slot's snapshot has the old catalog; the rows would be read by the new types."""
    shop.execute(MOOD + CASTS)
    shop.execute("CREATE TABLE shop.goods (id int PRIMARY KEY, n int)")
    shop.execute("INSERT INTO shop.goods VALUES (1, 1)")
    install(database, "shop.goods", feed="log")
    with LogFeed(database, "shop.goods").open() as session:
        session._stream = stream = session._open_stream()
        *_, made = stream.create_slot(session._slot, StopEvent(), 1)
        shop.execute(LATER["another type"])
        with pytest.raises(NotCapturedError):
            list(session._fill(stream, made))
    uninstall(database, "shop.goods")


@pytest.mark.parametrize("key", ["id", "id, k", "k, id"])
@pytest.mark.parametrize("was", ["int", "text", "bool", "char(3)"])
def test_a_key_that_becomes_the_owners_type(
    database: str, shop: psycopg.Connection, goods: Cache, key: str, was: str
) -> None:
    shop.execute(MOOD + CASTS)
    shop.execute(f"CREATE TABLE shop.goods (id {was}, k int, n int, PRIMARY KEY ({key}))")
    shop.execute("INSERT INTO shop.goods VALUES ('1', 1, 1)")
    install(database, "shop.goods")
    carry(ChangeTableFeed(database, "shop.goods"), goods)
    shop.execute("ALTER TABLE shop.goods ALTER id TYPE shop.mood USING '1'::shop.mood")
    shop.execute("UPDATE shop.goods SET n = 2")
    shop.execute("RESET ROLE; UPDATE shop.goods SET n = 3; SET ROLE mallory")
    install(database, "shop.goods")
    use(database, goods)


LATER = {
    "a column": "ALTER TABLE shop.goods ADD m shop.mood DEFAULT 'glad'",
    "another type": "ALTER TABLE shop.goods ALTER n TYPE shop.mood USING 'glad'",
    "a policy": """ALTER TABLE shop.goods ENABLE ROW LEVEL SECURITY;
        ALTER TABLE shop.goods FORCE ROW LEVEL SECURITY;
        CREATE POLICY p ON shop.goods USING (shop.spy('policy'))""",
    "an index": """CREATE FUNCTION shop.rank(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
        $$ BEGIN PERFORM shop.spy('index'); RETURN 1; END $$;
        CREATE INDEX ON shop.goods (shop.rank(id))""",
    "a generated column": """CREATE FUNCTION shop.rank(int) RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS $$ BEGIN PERFORM shop.spy('generated'); RETURN 1; END $$;
        ALTER TABLE shop.goods ADD g int GENERATED ALWAYS AS (shop.rank(id)) STORED""",
    "a trigger": """CREATE FUNCTION shop.pull() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM shop.spy('trigger'); RETURN NEW; END $$;
        CREATE TRIGGER pull BEFORE INSERT OR UPDATE ON shop.goods
        FOR EACH ROW EXECUTE FUNCTION shop.pull()""",
    "a rule": "CREATE RULE r AS ON INSERT TO shop.goods DO ALSO SELECT shop.spy('rule')",
}


@pytest.mark.parametrize("what", LATER)
def test_what_the_owner_changes_while_a_listener_follows(
    database: str,
    shop: psycopg.Connection,
    goods: Cache,
    listen: Callable[..., Listener],
    what: str,
) -> None:
    shop.execute(MOOD + CASTS)
    shop.execute("CREATE TABLE shop.goods (id int PRIMARY KEY, n int)")
    shop.execute("INSERT INTO shop.goods VALUES (1, 1), (2, 2)")
    install(database, "shop.goods")
    feed = ChangeTableFeed(database, "shop.goods", options=Options(heartbeat=0.1))
    listener = listen(feed, goods)
    with shop.transaction():
        shop.execute(LATER[what])
    until("the listener is live", lambda: listener.status_text == "live", timeout=10)
    shop.execute(
        "DELETE FROM shop.goods WHERE id = 2; INSERT INTO shop.goods SELECT 3, n FROM shop.goods"
    )
    until("it follows", lambda: goods.get("2") is None and goods.get("3") is not None)
    listener.stop()


def test_a_view_in_the_tables_place(
    database: str, shop: psycopg.Connection, goods: Cache, listen: Callable[..., Listener]
) -> None:
    shop.execute("CREATE TABLE shop.goods (id int PRIMARY KEY, n int)")
    install(database, "shop.goods")
    feed = ChangeTableFeed(database, "shop.goods", options=Options(heartbeat=0.1))
    listener = listen(feed, goods)
    with shop.transaction():
        shop.execute("ALTER TABLE shop.goods RENAME TO old")
        shop.execute("CREATE VIEW shop.decoy AS SELECT * FROM shop.old WHERE shop.spy('view')")
    until("the listener says so", lambda: "install" in listener.status_text, timeout=10)
    shop.execute("ALTER VIEW shop.decoy RENAME TO goods")
    for _ in range(3):
        seen = listener.stats.reconnects
        until("it looks again", lambda seen=seen: listener.stats.reconnects > seen, timeout=20)
    assert listener.state != "live"
