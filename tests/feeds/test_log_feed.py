"""The feed that reads PostgreSQL's log: what it writes is what the table holds."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

import psycopg
import pytest
import redis

from reactive_demo import Cache, ChangeTableFeed, Listener, LogFeed, Profiles, install, uninstall
from reactive_demo.capture.install import captured_tables
from reactive_demo.changes import State
from reactive_demo.errors import (
    ConfigurationError,
    LockTimeoutError,
    NotCapturedError,
    RefusedError,
)
from reactive_demo.options import Options
from reactive_demo.redis_cache.keys import stamp
from reactive_demo.tools.audit import audit
from reactive_demo.waiting import StopEvent
from tools.agreement import Traffic, agree, cached
from tools.durable import LOG, Durable
from tools.waiting import until

Listen = Callable[..., Listener]
Orders = Callable[[str], Cache]

QUICK = Options(heartbeat=0.1)
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"


@pytest.fixture
def durable() -> Durable:
    return LOG


@pytest.fixture
def follow(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> Callable[..., Cache]:
    """Create a table `orders`, and follow it: its cache."""

    def follow(
        *statements: str, exclude: list[str] | None = None, options: Options = QUICK
    ) -> Cache:
        for statement in statements:
            connection.execute(statement.encode())
        install(database, "orders", feed="log", exclude=exclude)
        orders = Cache(cache.redis_url, "orders")
        listen(LogFeed(database, "orders", options=options), orders)
        return orders

    return follow


def test_it_follows_traffic(database: str, cache: Cache, listen: Listen) -> None:
    listener = listen(LogFeed(database), cache)
    agree(database, cache)
    with Traffic(database) as traffic:
        traffic.flow(500)
    agree(database, cache)
    assert listener.stats.reconnects == 0


def test_a_row_that_is_made_anew_after_truncate_stays(
    database: str, connection: psycopg.Connection, follow: Callable[..., Cache]
) -> None:
    orders = follow("CREATE TABLE orders (id int PRIMARY KEY, n int)", INSERT_TEN)
    with connection.transaction():
        connection.execute("INSERT INTO orders VALUES (11, 1)")
        connection.execute("TRUNCATE orders")
        connection.execute("INSERT INTO orders VALUES (3, 33), (12, 1)")
    until("the rest is gone", lambda: set(orders.scan()) == {"3", "12"})
    agree(database, orders, "id::text")


def test_the_last_of_a_transactions_changes_of_a_key_wins(
    database: str, connection: psycopg.Connection, follow: Callable[..., Cache]
) -> None:
    """Also if they are in several batches: all have the same commit."""
    orders = follow(
        "CREATE TABLE orders (id int PRIMARY KEY, n int)",
        INSERT_TEN,
        options=replace(QUICK, batch_rows=3),
    )
    with connection.transaction():
        connection.execute("UPDATE orders SET n = 100 WHERE id = 1")
        connection.execute("UPDATE orders SET n = 200 WHERE id > 1")
        connection.execute("UPDATE orders SET n = 300 WHERE id = 1")
        connection.execute("DELETE FROM orders WHERE id = 2")
    agree(database, orders, "id::text")


INSERT_TEN = "INSERT INTO orders SELECT n, n FROM generate_series(1, 10) n"


def test_a_changed_key_leaves_the_old_one_deleted(
    database: str, connection: psycopg.Connection, follow: Callable[..., Cache]
) -> None:
    orders = follow(
        "CREATE TABLE orders (id int, name text, n int, PRIMARY KEY (name, id))",
        """INSERT INTO orders VALUES (1, 'a "b"', 1), (2, E'c\\n', 2)""",
    )
    key = "jsonb_build_array(name, id)::text"
    agree(database, orders, key)
    connection.execute("UPDATE orders SET name = 'né' WHERE id = 1")
    with connection.transaction():  # two rows change their places
        connection.execute("UPDATE orders SET id = 9 WHERE id = 1")
        connection.execute("UPDATE orders SET id = 1, name = 'né' WHERE id = 2")
    agree(database, orders, key)
    assert len(cached(orders)) == 2


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_what_is_stored_apart_is_looked_up(
    database: str, connection: psycopg.Connection, follow: Callable[..., Cache], identity: str
) -> None:
    orders = follow(
        "CREATE TABLE orders (id int PRIMARY KEY, n int, big text)",
        "ALTER TABLE orders ALTER big SET STORAGE EXTERNAL",
        f"ALTER TABLE orders REPLICA IDENTITY {identity}",
        "INSERT INTO orders VALUES (1, 1, repeat('x', 200000))",
    )
    connection.execute("UPDATE orders SET n = n + 1")
    until("the cache has the change", lambda: (orders.get("1") or {})["n"] == 2)
    agree(database, orders, "id::text")
    connection.execute("UPDATE orders SET id = 2")
    agree(database, orders, "id::text")
    with connection.transaction():
        connection.execute("UPDATE orders SET n = n + 1")
        connection.execute("DELETE FROM orders")
    until("the cache has the end", lambda: not cached(orders))


def test_a_row_that_was_looked_up_is_not_taken_back_by_an_older_one(
    database: str, connection: psycopg.Connection
) -> None:
    """The first change has it looked up, as the third left it; the second is told by the log."""
    connection.execute("ALTER TABLE profile ADD bio text")
    connection.execute("ALTER TABLE profile ALTER bio SET STORAGE EXTERNAL")
    connection.execute("INSERT INTO profile (username, bio) VALUES ('ada', repeat('x', 9000))")
    stopping = StopEvent()
    with LogFeed(database, options=Options(batch_rows=1)).open() as session:
        batches = session.batches(None, stopping)
        until("it is live", lambda: next(batches).state is State.LIVE)
        connection.execute("UPDATE profile SET likes_count = 1")
        connection.execute("UPDATE profile SET likes_count = 2, bio = repeat('y', 9000)")
        connection.execute("UPDATE profile SET likes_count = 3")
        seen = [json.loads(next(b for b in batches if b.changes).changes[0].row) for _ in range(3)]
        stopping.set()
    assert [row["likes_count"] for row in seen] == [3, 3, 3]


def test_generated_columns_are_there(
    connection: psycopg.Connection, follow: Callable[..., Cache]
) -> None:
    orders = follow(
        "CREATE TABLE orders (id int PRIMARY KEY, n int, hash text,"
        " twice int GENERATED ALWAYS AS (n * 2) STORED, thrice int GENERATED ALWAYS AS (n * 3))",
        "INSERT INTO orders VALUES (1, 1)",
        exclude=["hash"],
    )
    connection.execute("INSERT INTO orders VALUES (2, 2)")
    connection.execute("UPDATE orders SET n = 5 WHERE id = 1")
    until("the cache has both", lambda: len(cached(orders)) == 2)
    until("and the change", lambda: orders.get("1") == {"id": 1, "n": 5, "twice": 10, "thrice": 15})


def test_what_is_left_out_is_not_even_sent(
    database: str, connection: psycopg.Connection, follow: Callable[..., Cache]
) -> None:
    orders = follow(
        "CREATE TABLE orders (id int PRIMARY KEY, n int, hash text DEFAULT 'secret')",
        "INSERT INTO orders VALUES (1, 1)",
        exclude=["hash"],
    )
    connection.execute("INSERT INTO orders VALUES (2, 2)")
    until(
        "the cache has both",
        lambda: cached(orders) == {"1": {"id": 1, "n": 1}, "2": {"id": 2, "n": 2}},
    )
    names = connection.execute(
        "SELECT attnames::text FROM pg_publication_tables WHERE tablename = 'orders'"
    )
    assert names.fetchall() == [("{id,n}",)]
    install(database, "orders")  # the other feed leaves it out as well, and the slot is gone
    assert connection.execute(SLOTS).fetchall() == []
    assert connection.execute("SELECT excluded FROM reactive.captured").fetchall() == [(["hash"],)]


def test_partitions(
    database: str, connection: psycopg.Connection, follow: Callable[..., Cache]
) -> None:
    orders = follow(
        "CREATE TABLE orders (id int PRIMARY KEY, n int) PARTITION BY RANGE (id)",
        "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (6)",
        "CREATE TABLE orders_2 (n int, id int NOT NULL)",  # its columns in another order
        "ALTER TABLE orders ATTACH PARTITION orders_2 FOR VALUES FROM (6) TO (100)",
        INSERT_TEN,
    )
    agree(database, orders, "id::text")
    connection.execute("UPDATE orders SET id = id + 10, n = 50 WHERE id = 5")  # to the other one
    agree(database, orders, "id::text")


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE orders_1",
        "TRUNCATE orders",
        "ALTER TABLE orders DETACH PARTITION orders_2",
        "ALTER TABLE orders ADD COLUMN more int DEFAULT 7",
        "ALTER TABLE orders DROP COLUMN n",
        "ALTER TABLE orders RENAME n TO m",
        "ALTER TABLE orders ALTER n TYPE text",
    ],
)
def test_ddl_has_the_cache_filled_again(
    database: str, connection: psycopg.Connection, follow: Callable[..., Cache], statement: str
) -> None:
    orders = follow(
        "CREATE TABLE orders (id int PRIMARY KEY, n int) PARTITION BY RANGE (id)",
        "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (6)",
        "CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (6) TO (100)",
        INSERT_TEN,
    )
    connection.execute("UPDATE orders SET n = n + 1 WHERE id < 4")
    connection.execute(statement.encode())
    agree(database, orders, "id::text")
    connection.execute("DELETE FROM orders WHERE id < 3")
    agree(database, orders, "id::text")
    assert len(connection.execute(SLOTS).fetchall()) == 1


def test_keys_and_columns_of_types_that_it_has_no_rules_for(
    database: str, connection: psycopg.Connection, follow: Callable[..., Cache]
) -> None:
    orders = follow(
        "CREATE TYPE color AS ENUM ('red', 'green')",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE DOMAIN small AS int CHECK (VALUE < 100)",
        "CREATE TABLE orders (at inet, c color, f float8, p pair, l int[], s small,"
        " b point, m money, PRIMARY KEY (at, c, f))",
    )
    connection.execute(
        "INSERT INTO orders VALUES ('10.0.0.1', 'red', 1e20, (1, 'x'), '{1,2}', 5, '(1,2)', 3.5),"
        " ('::1/64', 'green', 'NaN', NULL, NULL, NULL, NULL, NULL)"
    )
    key = "jsonb_build_array(at::text, c::text, f)::text"
    until("the cache has both", lambda: len(cached(orders)) == 2)
    agree(database, orders, key)
    connection.execute("UPDATE orders SET c = 'red' WHERE c = 'green'")
    connection.execute("DELETE FROM orders WHERE f = 1e20")
    agree(database, orders, key)


def test_versions_are_published_and_grow(
    database: str, cache: Cache, profiles: Profiles, listen: Listen, client: redis.Redis
) -> None:
    listen(LogFeed(database), cache)
    versions = []
    for _ in range(3):
        profiles.increment("ada", "likes")
        agree(database, cache)
        versions.append(int(stamp(client.hget(cache.redis_key("ada"), "version")).version))
    assert versions == sorted(set(versions))


# What cannot be followed


@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        (["CREATE TABLE orders (id int)"], "has no primary key"),
        (["CREATE VIEW orders AS SELECT 1 AS id"], "is not a table"),
        (["CREATE UNLOGGED TABLE orders (id int PRIMARY KEY)"], "cannot add relation"),
        (
            [
                "CREATE TABLE orders (id int PRIMARY KEY)",
                "ALTER TABLE orders REPLICA IDENTITY NOTHING",
            ],
            "the replica identity of public.orders is not its primary key",
        ),
        ([], "There is no table orders"),
    ],
)
def test_a_table_that_cannot_be_followed_is_refused(
    database: str, connection: psycopg.Connection, statements: list[str], complaint: str
) -> None:
    for statement in statements:
        connection.execute(statement.encode())
    with pytest.raises(RefusedError, match=complaint):
        install(database, "orders", feed="log")
    with pytest.raises(NotCapturedError, match="feed='log'"):
        LogFeed(database, "orders").open()
    with pytest.raises(ConfigurationError, match="no feed 'trigger'"):
        install(database, "orders", feed="trigger")


def test_installing_again_changes_nothing(database: str) -> None:
    with LogFeed(database).open() as session:
        before = session.incarnation()
    install(database, feed="log")
    with LogFeed(database).open() as session:
        assert session.incarnation() == before
    install(database)
    with pytest.raises(NotCapturedError, match="is not published"):
        LogFeed(database).open()
    install(database, feed="log")
    with pytest.raises(NotCapturedError, match="is not captured"):
        ChangeTableFeed(database).open()


def test_a_cursor_belongs_to_a_server_a_database_and_a_timeline(database: str) -> None:
    """It begins as with the change table, so that the cache refuses others (acquire_lease.lua)."""
    with LogFeed(database).open() as session:
        place = session.incarnation().split("/")[:3]
    install(database)
    with ChangeTableFeed(database).open() as session:
        assert session.incarnation().split("/")[:3] == place


def test_without_a_fill_it_begins_where_its_slot_does(database: str, profiles: Profiles) -> None:
    profiles.increment("ada", "likes")
    stopping = StopEvent()
    with LogFeed(database).open() as session:
        batches = session.batches(None, stopping, fill=False)
        seen = list(takewhile(lambda batch: batch.state is not State.LIVE, batches))
        assert not any(batch.changes for batch in seen)
        assert [batch.evict_below for batch in seen if batch.evict_below] == ["0"]
        assert seen[-1].cursor
        profiles.increment("bob", "likes")
        batch = next(batch for batch in batches if batch.changes)
        assert [change.key for change in batch.changes] == ["bob"]
        stopping.set()


def test_an_audit_without_versions(
    database: str, cache: Cache, profiles: Profiles, listen: Listen
) -> None:
    profiles.increment("ada", "likes")
    listen(LogFeed(database), cache)
    agree(database, cache)
    assert not audit(database, cache, captured=False, again=(0.1,)).wrong
    cache._redis.hset(cache.redis_key("ada"), "row", '{"likes_count": -1}')
    (wrong,) = audit(database, cache, captured=False, again=(0.1,)).wrong
    assert wrong.key == "ada"


def test_uninstall_leaves_nothing(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    listener = listen(LogFeed(database), cache)
    assert len(connection.execute(SLOTS).fetchall()) == 1
    assert captured_tables(database) == ["public.profile"]
    uninstall(database)
    until("the listener says so", lambda: "not published" in listener.status_text)
    assert connection.execute(SLOTS).fetchall() == []
    assert connection.execute("SELECT FROM pg_publication").fetchall() == []
    install(database, feed="log")
    listener.wait_until("live")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER PUBLICATION {} SET (publish = 'insert')",
        "ALTER PUBLICATION {} DROP TABLE profile",
        "DROP PUBLICATION {}",
        "ALTER PUBLICATION {} SET TABLE profile WHERE (likes_count > 3)",
        "ALTER PUBLICATION {} SET TABLE profile (username, likes_count)",
        "ALTER PUBLICATION {} SET (publish_via_partition_root = false)",
        "ALTER PUBLICATION {} ADD TABLE another",
        "ALTER PUBLICATION {} ADD TABLES IN SCHEMA public",
    ],
)
def test_a_publication_altered_by_hand_is_noticed(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen, statement: str
) -> None:
    connection.execute("CREATE TABLE another (id int PRIMARY KEY)")
    listener = listen(LogFeed(database, options=QUICK), cache)
    ((name,),) = connection.execute("SELECT pubname FROM pg_publication")
    connection.execute(statement.format(name).encode())
    until("it says so", lambda: "its publication is gone" in listener.status_text)
    connection.execute("INSERT INTO profile (username) VALUES ('ada')")
    install(database, feed="log")
    listener.wait_until("live")
    agree(database, cache)


def test_rows_of_a_table_that_was_added_to_the_publication_are_not_taken_for_ours(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    """Although they look the same, and the heart does not beat before they come."""
    connection.execute("CREATE TABLE another (LIKE profile INCLUDING ALL)")
    listener = listen(LogFeed(database, options=Options(heartbeat=3600)), cache)
    ((name,),) = connection.execute("SELECT pubname FROM pg_publication")
    connection.execute(f"ALTER PUBLICATION {name} ADD TABLE another".encode())
    connection.execute("INSERT INTO another (username) VALUES ('ada')")
    until("it says so", lambda: "its publication is gone" in listener.status_text)
    assert not cached(cache)


def test_the_json_is_the_same_to_the_byte(
    connection: psycopg.Connection, follow: Callable[..., Cache]
) -> None:
    orders = follow("CREATE TABLE orders (id int PRIMARY KEY, j json, t text)")
    connection.execute(
        """INSERT INTO orders VALUES (1, '{"b" :  1.00, "a": [ ] }', E'\\x7f\\x01é"')"""
    )
    until("the row is there", lambda: orders.get("1"))
    ((row,),) = connection.execute("SELECT row_to_json(o)::text FROM orders o")
    assert orders._read_rows([orders.redis_key("1")]) == [row]
    json.loads(row)


# Reading one's own write


def test_a_write_can_be_awaited(
    database: str, cache: Cache, profiles: Profiles, listen: Listen
) -> None:
    before = profiles.increment("ada", "likes")
    listen(LogFeed(database), cache)
    cache.wait_for("ada", before)  # it is in the rows that filled the cache
    with Traffic(database) as traffic:
        for n in range(2, 200):
            version = profiles.increment("ada", "likes")
            cache.wait_for("ada", version)
            assert cache.get("ada")["likes_count"] == n
            assert (
                int(stamp(cache._redis.hget(cache.redis_key("ada"), "version")).version) > version
            )
        traffic.flow()


def test_a_failed_write_leaves_the_connection_as_it_was(
    database: str, profiles: Profiles, connection: psycopg.Connection
) -> None:
    assert profiles.increment("ada", "likes")
    with pytest.raises(RefusedError, match="there is no counter"):
        profiles.increment("ada", "nothing")
    versions = profiles.increment_all([("eve", "likes"), ("ada", "likes")])
    assert sorted(versions) == [versions[1], versions[0]]  # rows are locked by name
    with connection.transaction():
        connection.execute("SELECT FROM profile WHERE username = 'ada' FOR UPDATE")
        with pytest.raises(LockTimeoutError):
            profiles.increment_all([("ada", "likes")], lock_timeout=0.01)
    assert profiles.get("ada")["likes_count"] == 2
    uninstall(database)
    install(database)
    assert profiles.increment("ada", "likes") == 1


def test_any_write_can_be_awaited(
    connection: psycopg.Connection, follow: Callable[..., Cache]
) -> None:
    orders = follow("CREATE TABLE orders (id int PRIMARY KEY, n int)", INSERT_TEN)
    connection.execute("DELETE FROM orders WHERE id < 10")
    ((version,),) = connection.execute("SELECT reactive.version_now()")
    orders.wait_for("3", int(version))
    assert list(cached(orders)) == ["10"]


def test_a_row_of_an_earlier_feed_is_not_what_is_awaited(
    database: str, cache: Cache, profiles: Profiles, listen: Listen
) -> None:
    """Its version is greater, and of an earlier epoch."""
    first = listen(LogFeed(database), cache)
    cache.wait_for("ada", profiles.increment("ada", "likes"))
    first.stop()
    install(database)
    version = profiles.increment("ada", "likes")
    with pytest.raises(TimeoutError, match="does not have version"):
        cache.wait_for("ada", version, timeout=0.01)
    listen(ChangeTableFeed(database), cache)
    cache.wait_for("ada", version)
    assert cache.get("ada")["likes_count"] == 2


def test_listeners_of_both_feeds_take_turns(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    """Both can be installed by hand. If both led, each would fence the other, for ever."""
    listener = listen(LogFeed(database, options=QUICK), cache)
    connection.execute("SELECT reactive.capture('profile')")
    waiting = listen(ChangeTableFeed(database, options=QUICK), cache, state="standby")
    assert waiting.status_text == (
        "standby: a listener of another feed leads (reactive_demo listen profile by the log)"
    )
    listener.stop()
    waiting.wait_until("live")
