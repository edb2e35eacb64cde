"""Tables that are altered, hidden, replaced or brought from elsewhere: no listener is silent."""

from collections.abc import Callable

import psycopg
import pytest

from reactive_demo import Cache, Listener, ReactiveDemoError, ReadThrough, install
from reactive_demo.errors import NotCapturedError
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.leadership import Leadership
from reactive_demo.options import Options
from reactive_demo.waiting import StopEvent
from tools.agreement import cached
from tools.agreement import carry as carry_feed
from tools.durable import BOTH, Durable, change_table_only
from tools.waiting import until

Listen = Callable[..., Listener]
Carry = Callable[..., None]


@pytest.fixture(params=BOTH)
def durable(request: pytest.FixtureRequest) -> Durable:
    return request.param


@pytest.fixture
def carry(database: str, durable: Durable) -> Carry:
    """Bring a cache up to date with its table."""

    def carry(cache: Cache, url: str = database) -> None:
        carry_feed(durable.follow(url, cache.table), cache)

    return carry


@pytest.fixture
def orders(database: str, connection: psycopg.Connection, cache: Cache, durable: Durable) -> Cache:
    """The cache of a captured table `orders` of two rows."""
    connection.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, n int, hash text DEFAULT 'secret')"
    )
    connection.execute("INSERT INTO orders VALUES (1, 1), (2, 1)")
    durable.install(database, "orders", exclude=["hash"])
    return Cache(cache.redis_url, "orders")


def test_what_is_left_out_stays_out_when_it_is_installed_again_without_a_word(
    database: str, orders: Cache, carry: Carry, durable: Durable
) -> None:
    durable.install(database, "orders")
    carry(orders)
    assert orders.get("1") == {"id": 1, "n": 1}
    durable.install(database, "orders", exclude=[])
    carry(orders)
    assert orders.get("1") == {"id": 1, "n": 1, "hash": "secret"}


def test_a_column_that_is_left_out_and_renamed_is_not_shown(
    database: str, connection: psycopg.Connection, orders: Cache, carry: Carry, durable: Durable
) -> None:
    connection.execute("ALTER TABLE orders RENAME hash TO password")
    with pytest.raises(NotCapturedError):
        durable.follow(database, "orders").open()
    with pytest.raises(ReactiveDemoError, match="column hash cannot be left out"):
        durable.install(database, "orders")
    durable.install(database, "orders", exclude=["password"])
    carry(orders)
    assert orders.get("1") == {"id": 1, "n": 1}


def test_rows_that_a_policy_hides_are_an_error_and_not_taken_for_deleted(
    database: str, connection: psycopg.Connection, orders: Cache, carry: Carry
) -> None:
    carry(orders)
    connection.execute("DROP ROLE IF EXISTS rd_reader")
    connection.execute(
        """
        CREATE ROLE rd_reader LOGIN REPLICATION IN ROLE pg_monitor;
        GRANT USAGE ON SCHEMA reactive TO rd_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA reactive TO rd_reader;
        GRANT SELECT ON orders TO rd_reader;
        ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
        CREATE POLICY two ON orders USING (id = 2);
        UPDATE orders SET n = 2
        """
    )
    try:
        orders.forget_cursor()  # it reads rows, whichever feed it has
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            carry(orders, database.replace("reactive_demo@", "rd_reader@"))
        assert set(cached(orders)) == {"1", "2"}
    finally:
        connection.execute("DROP OWNED BY rd_reader; DROP ROLE rd_reader")


OWN_TYPE = """
    CREATE SCHEMA extension;
    CREATE TYPE extension.caseless;
    CREATE FUNCTION extension.read(cstring) RETURNS extension.caseless
        LANGUAGE internal IMMUTABLE STRICT AS 'textin';
    CREATE FUNCTION extension.show(extension.caseless) RETURNS cstring
        LANGUAGE internal IMMUTABLE STRICT AS 'textout';
    CREATE TYPE extension.caseless (INPUT = extension.read, OUTPUT = extension.show,
                                    LIKE = text, CATEGORY = 'S', COLLATABLE = true);
    CREATE CAST (extension.caseless AS text) WITHOUT FUNCTION AS IMPLICIT;
    CREATE FUNCTION extension.compare(extension.caseless, extension.caseless) RETURNS int
        LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT bttextcmp(lower($1::text), lower($2::text)) $$;
    DO $$ DECLARE name text; sign text; BEGIN
        FOR name, sign IN VALUES ('lt','<'), ('le','<='), ('eq','='), ('ge','>='), ('gt','>') LOOP
            EXECUTE format('CREATE FUNCTION extension.%s(extension.caseless, extension.caseless)
                RETURNS bool LANGUAGE sql IMMUTABLE STRICT
                AS ''SELECT extension.compare($1, $2) %s 0''', name, sign);
            EXECUTE format('CREATE OPERATOR extension.%s (FUNCTION = extension.%s,
                LEFTARG = extension.caseless, RIGHTARG = extension.caseless)', sign, name);
        END LOOP;
    END $$;
    CREATE OPERATOR CLASS extension.caseless_ops DEFAULT FOR TYPE extension.caseless USING btree AS
        OPERATOR 1 extension.<, OPERATOR 2 extension.<=, OPERATOR 3 extension.=,
        OPERATOR 4 extension.>=, OPERATOR 5 extension.>,
        FUNCTION 1 extension.compare(extension.caseless, extension.caseless);
"""
"""A type with an order of its own, as `citext` of the extension of that name."""


@pytest.mark.parametrize("key", ["name", "name, id", "id, name"])
def test_a_type_of_an_extension_is_read_in_its_own_order(
    database: str, connection: psycopg.Connection, cache: Cache, key: str, durable: Durable
) -> None:
    connection.execute(OWN_TYPE)
    connection.execute(f"CREATE TABLE users (name extension.caseless, id int, PRIMARY KEY ({key}))")
    connection.execute(
        "INSERT INTO users"
        " SELECT (CASE n % 2 WHEN 0 THEN 'User' ELSE 'user' END || n)::extension.caseless, n % 3"
        " FROM generate_series(1, 99) n"
    )
    durable.install(database, "users")
    users = Cache(cache.redis_url, "users")
    feed = durable.follow(database, "users", options=Options(batch_rows=10))
    carry_feed(feed, users)
    assert len(cached(users)) == 99
    connection.execute("UPDATE users SET id = 7 WHERE name::text = 'User42'")
    carry_feed(feed, users)
    assert [row["id"] for row in cached(users).values() if row["name"] == "User42"] == [7]


@change_table_only
def test_numbers_of_another_servers_transactions_say_nothing(
    database: str, connection: psycopg.Connection, orders: Cache, carry: Carry
) -> None:
    """As after pg_dump and a restore on a younger server: what it will number so, is far off."""
    connection.execute("UPDATE orders SET n = 2")
    connection.execute("UPDATE reactive.change SET xid = '9000000000'")
    connection.execute(
        "INSERT INTO reactive.change VALUES ('public.orders', NULL, 99, '9000000000', now());"
        "UPDATE reactive.captured SET pruned_xid = '9000000000'"
    )
    orders.forget_cursor()
    carry(orders)
    assert len(cached(orders)) == 2
    feed = ChangeTableFeed(database, "orders")
    with feed.open() as session:
        lease = Leadership(feed, orders, takeover=False).acquire_lease(session)
        assert not next(session.batches(lease.cursor, StopEvent())).changes
    connection.execute("UPDATE orders SET n = 3 WHERE id = 2")
    carry(orders)
    assert orders.get("2") == {"id": 2, "n": 3}


SWAP = """
    BEGIN;
    CREATE TABLE new (LIKE orders INCLUDING ALL);
    INSERT INTO new SELECT * FROM orders;
    ALTER TABLE orders RENAME TO old;
    ALTER TABLE new RENAME TO orders;
    COMMIT
"""


@change_table_only
@pytest.mark.parametrize("away", [SWAP, "ALTER TABLE orders DISABLE TRIGGER reactive_capture"])
def test_a_table_that_has_lost_its_trigger_is_not_called_live(
    database: str, connection: psycopg.Connection, orders: Cache, listen: Listen, away: str
) -> None:
    feed = ChangeTableFeed(database, "orders", options=Options(heartbeat=0.1))
    listener = listen(feed, orders)
    connection.execute(away)
    connection.execute("UPDATE orders SET n = 5")
    until(
        "the listener says so", lambda: "reactive-demo install" in listener.status_text, timeout=10
    )
    install(database, "orders")
    until("it is live again", lambda: listener.status_text == "live", timeout=10)
    assert orders.get("1") == {"id": 1, "n": 5}


def test_what_replication_writes_is_captured(
    connection: psycopg.Connection, orders: Cache, carry: Carry
) -> None:
    carry(orders)
    connection.execute("SET session_replication_role = replica")
    connection.execute("UPDATE orders SET n = 9")
    connection.execute("RESET session_replication_role")
    carry(orders)
    assert orders.get("1") == {"id": 1, "n": 9}


@change_table_only
def test_a_key_that_breaks_a_domains_rule_is_nobodys(
    database: str, connection: psycopg.Connection, cache: Cache, carry: Carry
) -> None:
    connection.execute("CREATE DOMAIN small AS int CHECK (VALUE < 10)")
    connection.execute("CREATE TABLE few (id small PRIMARY KEY)")
    connection.execute("INSERT INTO few VALUES (1)")
    install(database, "few")
    few = Cache(cache.redis_url, "few")
    carry(few)
    with ReadThrough(database, few) as rows:
        assert (rows.get("1"), rows.get("11")) == ({"id": 1}, None)
