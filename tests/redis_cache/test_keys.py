"""A key as Python has it becomes the text that PostgreSQL makes of it, or is refused."""

from datetime import date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from reactive_demo import Cache, LiveLabel, ReadThrough, install
from reactive_demo.keys import Key, key_text
from tools.agreement import carry
from tools.waiting import until

ZONES = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))
TYPES: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "numeric": st.integers(-(10**30), 10**30) | st.decimals(-(10**9), 10**9, places=4),
    "numeric(9,3)": st.integers(-99, 99) | st.decimals(-99, 99, places=2),
    "boolean": st.booleans(),
    "uuid": st.uuids(),
    "date": st.dates(),
    "time": st.times(),
    "timestamp": st.datetimes(),
    "timestamptz": st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES),  # noqa: DTZ001
    "bytea": st.binary(max_size=9),
}


@pytest.fixture
def keyed(connection: psycopg.Connection) -> psycopg.Connection:
    """A table whose key has a column of each type, and one for each type alone."""
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(name)) for name in TYPES
    )
    key = sql.SQL(", ").join(map(sql.Identifier, TYPES))
    connection.execute(sql.SQL("CREATE TABLE keyed ({}, PRIMARY KEY ({}))").format(columns, key))
    for name in TYPES:
        table = sql.Identifier(f"keyed_{name}")
        connection.execute(
            sql.SQL("CREATE TABLE {} (id {} PRIMARY KEY)").format(table, sql.SQL(name))
        )
    connection.execute("SET DateStyle = 'ISO'")
    return connection


def made_by_postgresql(connection: psycopg.Connection, table: str, values: tuple[Any, ...]) -> str:
    """Return the key's text as capture records it."""
    ((expression,),) = connection.execute("SELECT reactive.key_expression(%s, 't')", [table])
    row = sql.SQL("SELECT {} FROM {} t").format(sql.SQL(expression), sql.Identifier(table))
    into = sql.SQL("INSERT INTO {} VALUES ({})").format(
        sql.Identifier(table), sql.SQL(", ").join(sql.Placeholder() * len(values))
    )
    with connection.transaction(force_rollback=True):
        connection.execute(into, values)
        ((text,),) = connection.execute(row)
    return str(text)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.tuples(*TYPES.values()))
def test_a_key_has_the_text_that_postgresql_gives_it(
    keyed: psycopg.Connection, values: tuple[Any, ...]
) -> None:
    assert key_text(values) == key_text([*values]) == made_by_postgresql(keyed, "keyed", values)
    for name, value in zip(TYPES, values, strict=True):
        text = made_by_postgresql(keyed, f"keyed_{name}", (value,))
        assert key_text(value) == key_text((value,)) == text


@pytest.mark.parametrize(
    "key",
    [None, 1.5, timedelta(1), {}, (1, None), ((1,), 2), (["a", "b"],)],
)
def test_what_only_the_column_could_tell_is_refused(cache: Cache, key: Any) -> None:
    for use in (cache.get, cache.redis_key, lambda key: cache.wait_for(key, 1)):
        with pytest.raises(TypeError, match="pass text, a whole number"):
            use(key)
    with pytest.raises(TypeError, match="cannot be a key"):
        cache.subscribe(key, print)
    with pytest.raises(TypeError, match="cannot be a key"):
        cache.get_many([key])


def test_an_empty_key_is_none() -> None:
    with pytest.raises(TypeError):
        key_text(())


def test_a_key_of_several_columns_is_taken_everywhere(
    database: str, connection: psycopg.Connection, valkey_url: str
) -> None:
    order = UUID("5b6c3a52-7d2e-4a57-9f0e-6d7a1f9c0b11")
    connection.execute(
        "CREATE TABLE order_item ("
        "order_id uuid, line int, note text, day date, PRIMARY KEY (order_id, line, day))"
    )
    install(database, "order_item")
    connection.execute("INSERT INTO order_item VALUES (%s, 1, 'tea', '2026-01-02')", [order])
    cache = Cache(valkey_url, "order_item")
    keys: list[Key] = [
        (order, 1, date(2026, 1, 2)),
        [str(order), 1, "2026-01-02"],
        f'["{order}", 1, "2026-01-02"]',
    ]
    with ReadThrough(database, cache) as rows:
        assert [rows.get(key) for key in keys] == [rows.get(keys[0])] * 3
        assert rows.get(keys[0]) is not None
    carry(database, cache)
    for key in keys:
        row = cache.get(key)
        assert row is not None
        assert row["note"] == "tea"
    told: list[Any] = []
    subscription = cache.subscribe(keys[0], told.append)
    label = LiveLabel(cache, keys[1], "note")
    until("it is told and shown", lambda: told and told[-1] and label.value == "tea")
    assert repr(label) == f"LiveLabel({keys[2]}.note)"
    assert cache.get_many([keys[0]]) == {keys[0]: row}
    label.close()
    subscription.close()
    cache.close()
