"""Rows and keys made of the log's text are those that PostgreSQL makes, to the byte."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from reactive_demo import install, uninstall
from reactive_demo.feeds.log_rows import AS_JSON, AS_KEY, Layout
from reactive_demo.feeds.pgoutput import Relation, Upsert, decode
from reactive_demo.feeds.table import SETTINGS, CapturedTable, describe_published
from reactive_demo.postgres import open_postgres

ODD = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.text(ODD, max_size=12)
FLOATS = ["0", "-0", "1e20", "1.5", "-1e-7", "1e300", "NaN", "Infinity", "-Infinity"]
DATES = ["2024-02-29", "0044-03-15 BC", "infinity", "-infinity", "12345-01-02"]
MOMENTS = [f"{day} 12:03:04.50" for day in DATES[:2]] + [*DATES[2:4], "2024-01-01", "1883-01-01"]
INTEGERS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
VALUES: dict[str, st.SearchStrategy[str]] = {
    **{
        name: st.integers(-most, most - 1).map(str) | st.just("0")
        for name, most in INTEGERS.items()
    },
    "real": st.sampled_from(["3.4e38", *FLOATS[:5], *FLOATS[6:]])
    | st.floats(width=32, allow_subnormal=False).map(repr),
    "double precision": st.sampled_from(FLOATS) | st.floats(allow_subnormal=False).map(repr),
    "numeric": st.sampled_from(["NaN", "Infinity", "-Infinity", "1.50", "-0.00", "1" * 400])
    | st.decimals(allow_nan=False, allow_infinity=False, places=5).map("{:f}".format),
    "boolean": st.sampled_from(["true", "false"]),
    "json": st.sampled_from(['{"b" : 1.00,\n "a":[ ]}', "null", '"\\u00e9"', "[1e5]"]),
    "jsonb": st.sampled_from(['{"b" : 1.00, "a":[ ]}', "null", '"é\\n\\""', "[1e5]"]),
    **dict.fromkeys(["text", "character varying", "name"], TEXT),
    **dict.fromkeys(["bpchar", "character"], st.sampled_from(["", "a ", " é", "  ", '"'])),
    "uuid": st.uuids().map(str),
    "date": st.sampled_from(DATES),
    "bytea": st.binary(max_size=8).map(lambda data: "\\x" + data.hex()),
    "interval": st.sampled_from(["1 year 2 mons -3 days 04:05:06.7", "0", "-1 mon", "infinity"]),
    "time without time zone": st.sampled_from(["00:00", "24:00", "12:34:56.7"]),
    "time with time zone": st.sampled_from(["00:00+00", "12:34:56.7+05:30", "01:02-11"]),
    "inet": st.sampled_from(["10.0.0.1", "10.0.0.0/8", "::1"]),
    "cidr": st.sampled_from(["10.0.0.0/8", "::1/128"]),
    "macaddr": st.just("08:00:2b:01:02:03"),
    "timestamp without time zone": st.sampled_from(MOMENTS),
    "timestamp with time zone": st.sampled_from([*MOMENTS[2:], *(f"{m}+02" for m in MOMENTS[:2])]),
}
PLACES = {name: number for number, name in enumerate(VALUES)}


def test_each_type_with_a_rule_is_tried() -> None:
    assert set(VALUES) == set(AS_JSON)
    assert set(AS_KEY) <= set(VALUES)


class Decoded:
    """A table, and what comes out of its log."""

    def __init__(self, connection: psycopg.Connection[Any], table: CapturedTable) -> None:
        self.connection = connection
        self.table = table
        self._slot = f"test_{connection.info.backend_pid}"
        connection.execute(
            "SELECT pg_create_logical_replication_slot(%s, 'pgoutput', true)", [self._slot]
        )
        ((self._publication,),) = connection.execute(
            "SELECT reactive.publication_of(%s)", [table.name]
        )
        self._marks = sql.SQL(", ").join(sql.Placeholder() * len(table.columns))

    def insert(self, values: list[str | None]) -> tuple[str | None, str | None, str, str]:
        """Insert a row; row and key as made of the log, and as PostgreSQL makes them."""
        table, connection = self.table, self.connection
        connection.execute(sql.SQL("DELETE FROM {}").format(table.table))
        connection.execute(
            sql.SQL("INSERT INTO {} VALUES ({})").format(table.table, self._marks), values
        )
        ((row, key),) = connection.execute(
            sql.SQL("SELECT {}, {} FROM {} t").format(table.row, table.key_text, table.table)
        )
        messages = connection.execute(
            "SELECT data FROM pg_logical_slot_get_binary_changes("
            "%s, NULL, NULL, 'proto_version', '1', 'publication_names', %s)",
            [self._slot, self._publication],
        )
        for (data,) in messages:
            match decode(bytes(data)):
                case Relation() as relation:
                    layout = Layout(table, relation.columns)
                case Upsert() as change:
                    made = layout.row(change.new), layout.key(layout.key_values(change.new, None))
        return *made, row, key


@pytest.fixture(scope="module")
def all_types(shared_database: str) -> Iterator[Decoded]:
    """A table with a column of each type."""
    columns = ", ".join(f'"c {n}""" {name}' for name, n in PLACES.items())
    yield from decoded(shared_database, f"{columns}, id int PRIMARY KEY")


def decoded(database: str, columns: str) -> Iterator[Decoded]:
    with open_postgres(database, "test") as connection:
        connection.execute("DROP TABLE IF EXISTS public.typed")
        create = f"CREATE TABLE public.typed ({columns})"
        connection.execute(create.replace(" character,", " character(5),").encode())
        install(database, "public.typed", feed="log")
        connection.execute(SETTINGS)
        yield Decoded(connection, describe_published(connection, "public.typed"))
    uninstall(database)


ON_A_SERVER = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@ON_A_SERVER
@given(st.tuples(*(st.none() | values for values in VALUES.values())))
def test_rows(all_types: Decoded, values: tuple[str | None, ...]) -> None:
    row, key, true_row, true_key = all_types.insert([*values, "1"])
    assert (row, key) == (true_row, true_key)


def test_each_value_that_is_named_here(all_types: Decoded) -> None:
    for examples in zip(*(_named(name) for name in VALUES), strict=True):
        row, _, true_row, _ = all_types.insert([*examples, "1"])
        assert row == true_row


def _named(name: str) -> list[str | None]:
    odd: dict[str, list[str]] = {
        "real": FLOATS[:5] + FLOATS[6:],
        "double precision": FLOATS,
        "numeric": ["NaN", "Infinity", "-Infinity", "1.50", "-0.00", "1" * 400],
        "date": DATES,
        "text": ["".join(map(chr, range(1, 0x300))), "\u2028\U0001f418"],
        "timestamp without time zone": MOMENTS,
        "timestamp with time zone": MOMENTS,
    }
    named: list[str | None] = [*odd.get(name, [])]
    return named + [None] * (10 - len(named))


@pytest.fixture(params=sorted(AS_KEY), scope="module")
def one_key(request: pytest.FixtureRequest, shared_database: str) -> Iterator[Decoded]:
    yield from decoded(shared_database, f"k {request.param}, n int, PRIMARY KEY (k)")


@settings(ON_A_SERVER, max_examples=15)
@given(st.data())
def test_a_key_of_one_column(one_key: Decoded, data: st.DataObject) -> None:
    value = data.draw(VALUES[one_key.table.key_columns[0].base_type])
    _, key, _, true_key = one_key.insert([value, "1"])
    assert key == true_key


@pytest.fixture(scope="module")
def many_keys(shared_database: str) -> Iterator[Decoded]:
    names = sorted(AS_KEY)
    columns = ", ".join(f"k{n} {name}" for n, name in enumerate(names))
    keys = ", ".join(f"k{n}" for n in reversed(range(len(names))))
    yield from decoded(shared_database, f"{columns}, PRIMARY KEY ({keys})")


@ON_A_SERVER
@given(st.tuples(*(VALUES[name] for name in sorted(AS_KEY))))
def test_a_key_of_all_columns(many_keys: Decoded, values: tuple[str, ...]) -> None:
    row, key, true_row, true_key = many_keys.insert(list(values))
    assert (row, key) == (true_row, true_key)
