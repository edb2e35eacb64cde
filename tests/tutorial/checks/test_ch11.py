"""The checks of the chapter on the reader's own table: each fails in words, and passes."""

import ast
from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest

from reactive_demo import Cache, ChangeTableFeed, Listener, RowGrid, Stack, install, uninstall
from reactive_demo.errors import RefusedError
from reactive_demo.tools.services import remove_cache
from reactive_demo.tutorial.checks import CheckFailed, patience
from reactive_demo.tutorial.checks import ch11 as checks
from reactive_demo.tutorial.delays import Delays
from reactive_demo.tutorial.own_table import OwnTable, close_shop

DOCUMENTS = """
    ALTER TABLE shop.orders ADD COLUMN IF NOT EXISTS items jsonb NOT NULL DEFAULT '[]';
    CREATE OR REPLACE FUNCTION shop.gather() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    {lock}
    UPDATE shop.orders SET items = coalesce((
        SELECT jsonb_agg(to_jsonb(i) - 'order_id' ORDER BY line)
        FROM shop.order_item i WHERE order_id = id), '[]')
    WHERE id IN (OLD.order_id, NEW.order_id);
    RETURN NULL; END $$;
    CREATE OR REPLACE TRIGGER gather AFTER INSERT OR UPDATE OR DELETE ON shop.order_item
        FOR EACH ROW EXECUTE FUNCTION shop.gather();
    UPDATE shop.order_item SET line = line;
"""
LOCK = """
    PERFORM FROM shop.orders WHERE id IN (OLD.order_id, NEW.order_id) ORDER BY id
    FOR NO KEY UPDATE;
"""


@pytest.fixture
def served(empty_database: str, valkey_url: str) -> Iterator[Stack]:
    """The stack, with this test's own database, and the shop in it."""
    with psycopg.connect(empty_database) as connection:
        connection.execute("DROP SCHEMA IF EXISTS shop CASCADE")
    yield Stack(empty_database, valkey_url, {})
    close_shop(empty_database)


@pytest.fixture
def mine(served: Stack) -> OwnTable:
    return OwnTable.open(served, "shop.orders")


@pytest.fixture
def impatient() -> Iterator[None]:
    """What fails here fails at once."""
    with patience(1):
        yield


def execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


def test_the_shop_is_the_tutorials_own(served: Stack, mine: OwnTable) -> None:
    assert repr(mine) == "shop.orders, made for this chapter"
    install(served.database_url, "shop.orders")
    OwnTable.open(served, "shop.orders")
    with pytest.raises(CheckFailed, match="is not captured"):
        checks.table_is_followed(served, "shop.orders")
    execute(served.database_url, "COMMENT ON SCHEMA shop IS 'mine'")
    with pytest.raises(RefusedError, match="did not make it: rename it"):
        OwnTable.open(served, "shop.orders")
    execute(served.database_url, "DROP SCHEMA shop CASCADE")


THEIRS = """
    CREATE TABLE "My Bill" (a int GENERATED ALWAYS AS IDENTITY, b numeric, c text, paid bool,
        d text GENERATED ALWAYS AS (c) STORED, PRIMARY KEY (a, b));
    INSERT INTO "My Bill" (b, c) VALUES (1.50, 'kept'), (2, 'kept too')
"""


def test_of_a_readers_table_no_value_is_changed_unasked(served: Stack) -> None:
    execute(served.database_url, THEIRS)
    with pytest.raises(RefusedError, match="is yours, and no value in it is changed") as refused:
        OwnTable.open(served, '"My Bill"')
    proposed = ast.literal_eval(str(refused.value).partition("CHANGE = ")[2])
    theirs = OwnTable.open(served, '"My Bill"', proposed)
    assert repr(theirs) == '"My Bill", your own'
    with psycopg.connect(served.database_url) as connection:
        before = connection.execute('TABLE "My Bill" ORDER BY a').fetchall()
        for statement in (theirs.insert, theirs.delete):
            assert connection.execute(statement.encode()).fetchall() == [(1, Decimal("1.50"))]
        assert connection.execute('TABLE "My Bill" ORDER BY a').fetchall() == before
        for wanted in (True, False):
            assert connection.execute(theirs.change.encode()).fetchall() == [(1, Decimal("1.50"))]
            paid = connection.execute('SELECT paid FROM "My Bill" WHERE a = 1').fetchone()
            assert paid == (wanted,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE tagged SET n = 1", r'does not return the key: let it end in RETURNING "tags"\.'),
        ("UPDATE tagged SET n = 1 WHERE n = 9 RETURNING tags", "changes no row"),
        ("UPDATE tagged SET n = 1 RETURNING n, tags", "does not return the key"),
        ("UPDATE tagged SET n = 1 RETURNING tags", r'let it end in RETURNING "tags"::text\.'),
        ("UPDATE tagged SET m = 1 RETURNING tags", 'CHANGE fails .*"m"'),
    ],
)
def test_a_change_that_does_not_do_is_refused_and_undone(
    served: Stack, change: str, words: str
) -> None:
    execute(
        served.database_url,
        "CREATE TABLE tagged (tags text[] PRIMARY KEY, n int);INSERT INTO tagged VALUES ('{a}', 0)",
    )
    with pytest.raises(RefusedError, match=words):
        OwnTable.open(served, "tagged", change)
    with psycopg.connect(served.database_url) as connection:
        assert connection.execute("SELECT n FROM tagged").fetchall() == [(0,)]
    OwnTable.open(served, "tagged", "UPDATE tagged SET n = n + 1 RETURNING tags::text")


def test_a_table_that_is_not_there_or_has_no_key_is_refused(
    served: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(RefusedError, match=r"There is no table nothing .*with DATABASE_URL set"):
        OwnTable.open(served, "nothing")
    execute(served.database_url, "CREATE TABLE event (what text)")
    with pytest.raises(RefusedError, match=r"public\.event has no primary key"):
        OwnTable.open(served, "event")


@pytest.mark.usefixtures("impatient")
def test_a_table_is_examined_and_watched(served: Stack, mine: OwnTable) -> None:
    with pytest.raises(CheckFailed, match=r"order_item cannot be followed yet.*no primary key"):
        checks.can_be_followed(served, "shop.orders", "shop.order_item")
    assert "nothing hinders" in repr(checks.can_be_followed(served, mine.name))
    cache = Cache(served.redis_url, mine.name)
    grid = RowGrid(cache)
    try:
        with pytest.raises(CheckFailed, match="The cache holds no rows"):
            checks.grid_agrees(grid)
        install(served.database_url, mine.name)
        with Listener(ChangeTableFeed(served.database_url, mine.name), cache) as listener:
            listener.wait_until("live")
            checks.table_is_followed(served, mine.name)
        with patience(5):
            assert "shows what the cache" in repr(checks.grid_agrees(grid))
    finally:
        grid.close()


@pytest.mark.parametrize(
    ("lock", "words"),
    [
        ("", "has the items .*1001.*1002.* and its document"),
        (LOCK, None),
    ],
)
def test_a_document_is_whole_whatever_two_writers_do(
    served: Stack, mine: OwnTable, lock: str, words: str | None
) -> None:
    with patience(1), pytest.raises(CheckFailed, match="has no list of `items`"):
        checks.orders_are_documents(served)
    execute(served.database_url, DOCUMENTS.format(lock=lock))
    if words:
        with patience(1.5), pytest.raises(CheckFailed, match=words):
            checks.orders_are_documents(served)
    else:
        assert "two transactions" in repr(checks.orders_are_documents(served))
    assert mine.stack is served


@pytest.mark.long
def test_a_service_carries_the_changes_and_nothing_is_left(served: Stack, mine: OwnTable) -> None:
    install(served.database_url, mine.name)
    cache = Cache(served.redis_url, mine.name)
    listener = Listener(ChangeTableFeed(served.database_url, mine.name), cache)
    with pytest.raises(CheckFailed, match="The process does not run"):
        checks.is_served_without(listener, None, mine)
    service = mine.start("listen", "--table", mine.name)
    try:
        with listener, pytest.raises(CheckFailed, match="stop it first"):
            checks.is_served_without(listener, service, mine)
        assert "the process carries" in repr(checks.is_served_without(listener, service, mine))
        with pytest.raises(CheckFailed, match="still has the trigger reactive_capture"):
            checks.nothing_is_left(served, mine.name)
        uninstall(served.database_url, mine.name)
        with pytest.raises(CheckFailed, match="Redis still holds"):
            checks.nothing_is_left(served, mine.name)
    finally:
        assert service.stdin is not None
        service.stdin.close()  # as when the notebook ends
        assert service.wait(10) in {0, -15}
    remove_cache(served.redis_url, mine.name)
    assert "nothing is left" in repr(checks.nothing_is_left(served, mine.name))
    assert "Nothing" not in mine.run("--help")


def test_the_last_exercise_is_judged_by_its_row(served: Stack, mine: OwnTable) -> None:
    execute(
        served.database_url,
        "CREATE TABLE shop.parcel (carrier text, number int, state text, pin text,"
        " PRIMARY KEY (carrier, number));"
        "INSERT INTO shop.parcel VALUES ('post', 1, 'delivered', '4711')",
    )
    install(served.database_url, "shop.parcel", exclude=["pin"])
    cache = Cache(served.redis_url, "shop.parcel")
    with Listener(ChangeTableFeed(served.database_url, "shop.parcel"), cache) as listener:
        listener.wait_until("live")
        with pytest.raises(CheckFailed, match="`seen` is None"):
            checks.parcels_are_served(served, None)
        with pytest.raises(CheckFailed, match=r"The database has \('post', 1, 'delivered'\)"):
            checks.parcels_are_served(served, {"state": "delivered", "number": 2})
        seen = cache.get(("post", 1))
        assert "your own write" in repr(checks.parcels_are_served(served, seen))
    assert mine.stack is served


def test_delays_are_told_and_drawn() -> None:
    delays = Delays([0.004, 0.001, 0.002, 0.100])
    assert repr(delays) == "4 writes: half within 3.0 ms, 99 % within 97.1 ms"
    assert delays._repr_mimebundle_()["image/png"].startswith("iVBOR")
