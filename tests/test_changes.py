"""The pure core: what a notification says, and what is left of many changes."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactive_demo.changes import Change
from reactive_demo.exact_json import dump_row, parse_row
from reactive_demo.feeds.notifications import conflate, decode

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
keys = st.sampled_from(["ada", "bob", "eve"])
changes = st.builds(
    Change, key=keys, row=st.none() | st.fixed_dictionaries({"likes_count": st.integers()})
)


@pytest.mark.parametrize("operation", ["INSERT", "UPDATE"])
def test_a_written_row_is_the_change(operation: str) -> None:
    row = {"username": "ada", "likes_count": 2}
    payload = json.dumps({"operation": operation, "row": row})
    assert decode(payload, "username") == Change("ada", row)


def test_a_deleted_row_is_a_change_to_nothing() -> None:
    payload = json.dumps({"operation": "DELETE", "row": {"username": "ada", "likes_count": 2}})
    assert decode(payload, "username") == Change("ada", None)


def test_the_key_is_read_from_the_column_asked_for() -> None:
    payload = json.dumps({"operation": "UPDATE", "row": {"id": "7", "username": "ada"}})
    assert decode(payload, "id").key == "7"


@given(name=text, ascii_only=st.booleans())
def test_any_text_of_the_database_is_read_as_it_was_written(name: str, *, ascii_only: bool) -> None:
    row = {"username": name, "note": f'"{name}"\n\\'}
    payload = json.dumps({"operation": "INSERT", "row": row}, ensure_ascii=ascii_only)
    assert decode(payload, "username") == Change(name, row)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("", id="empty"),
        pytest.param("hello", id="not JSON"),
        pytest.param('{"operation": "INSERT", "row"', id="half of it"),
        pytest.param("null", id="null"),
        pytest.param("7", id="a number"),
        pytest.param('"text"', id="a text"),
        pytest.param("[1, 2]", id="a list"),
        pytest.param("{}", id="no field"),
        pytest.param('{"row": {"username": "ada"}}', id="no operation"),
        pytest.param('{"operation": "INSERT"}', id="no row"),
        pytest.param('{"operation": "INSERT", "row": null}', id="row null"),
        pytest.param('{"operation": "INSERT", "row": "username"}', id="row a text"),
        pytest.param('{"operation": "INSERT", "row": ["username"]}', id="row a list"),
        pytest.param('{"operation": "DELETE", "row": {}}', id="no key"),
        pytest.param('{"operation": "INSERT", "row": {"username": 7}}', id="key a number"),
        pytest.param('{"operation": "INSERT", "row": {"username": null}}', id="key null"),
        pytest.param('{"operation": "INSERT", "row": {"username": {}}}', id="key an object"),
        pytest.param(
            '{"operation": "INSERT", "row": {"username": "ada"}, "changed_at": "noon"}',
            id="a moment that is text",
        ),
        pytest.param(
            '{"operation": "INSERT", "row": {"username": "ada"}, "changed_at": NaN}',
            id="a moment that is NaN",
        ),
        pytest.param(
            f'{{"operation": "INSERT", "row": {{"username": "ada"}}, "changed_at": {9**400}}}',
            id="a moment too far off to calculate with",
        ),
        pytest.param("[" * 7_000, id="nested too deep"),
        pytest.param("9" * 7_000, id="number too long"),
        pytest.param(
            '{"operation": "INSERT", "row": {"username": "\\ud83d"}}', id="half of an emoji"
        ),
        pytest.param(
            '{"operation": "INSERT", "row": {"username": "ada", "note": "\\udc00"}}',
            id="half of an emoji beside the key",
        ),
        pytest.param(
            '{"operation": "INSERT", "row": {"username": "ada", "likes_count": NaN}}', id="NaN"
        ),
        pytest.param(
            '{"operation": "INSERT", "row": {"username": "ada", "likes_count": -Infinity}}',
            id="infinity",
        ),
        pytest.param(
            f'{{"operation": "INSERT", "row": {{"username": "ada", "n": 1e{9**25}}}}}',
            id="an exponent beyond everything",
        ),
    ],
)
def test_what_is_no_change_is_a_value_error(payload: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (its words depend on what is wrong)
        decode(payload, "username")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=5,
)
messages = st.fixed_dictionaries(
    {
        "operation": st.sampled_from(["INSERT", "UPDATE", "DELETE"]),
        "row": st.builds(
            lambda key, others: others | {"username": key},
            text,
            st.dictionaries(text, values, max_size=3),
        ),
    },
    optional={"changed_at": st.floats(0, 1e11) | st.integers(0, 10**11)},
)


@given(messages)
def test_a_message_of_the_trigger_is_decoded_as_it_was_sent(message: dict[str, Any]) -> None:
    row = None if message["operation"] == "DELETE" else message["row"]
    assert decode(json.dumps(message), "username") == Change(
        message["row"]["username"], row, message.get("changed_at")
    )


@given(
    messages,
    st.sampled_from(["operation", "row", "username", "changed_at"]),
    values | st.sampled_from([math.nan, math.inf, 9**400, {"username": math.nan}]),
)
def test_a_message_with_one_odd_part_is_a_change_or_a_value_error(
    message: dict[str, Any], part: str, odd: Any
) -> None:
    (message["row"] if part == "username" else message)[part] = odd
    try:
        change = decode(json.dumps(message), "username")
    except ValueError:
        return
    change.key.encode()
    json.dumps(change.row, allow_nan=False)
    assert change.changed_at is None or math.isfinite(float(change.changed_at))


@given(text)
def test_text_that_is_no_message_is_a_value_error(payload: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (its words depend on what is wrong)
        decode(payload, "username")


@given(st.lists(changes))
def test_conflation_keeps_the_last_change_of_each_key(heard: list[Change]) -> None:
    last = {change.key: change for change in heard}
    assert {change.key: change for change in conflate(heard)} == last
    assert len(conflate(heard)) == len(last)


@given(st.lists(changes))
def test_conflation_keeps_the_order_in_which_keys_were_first_heard(heard: list[Change]) -> None:
    order = list(dict.fromkeys(change.key for change in heard))
    assert [change.key for change in conflate(heard)] == order


def test_conflation_reads_any_iterable_once() -> None:
    assert conflate(iter([Change("ada", {"n": 1}), Change("ada", None)])) == [Change("ada", None)]


NUMBERS = [
    "0",
    "-7",
    "1.5",
    "0.1",
    "-0.0",
    "9007199254740993",
    "12345678901234567.8912345678",
    "0.30000000000000000001",
    "1e400",
    "-1E-400",
    "9" * 5_000,
    "9" * 5_000 + ".5",
]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:30])
def test_a_number_keeps_its_value(number: str) -> None:
    """As it is read, written and heard."""
    text = f'{{"username":"ada","n":{number},"deep":[{{"n":{number}}}]}}'
    row = parse_row(text)
    written = json.loads(
        dump_row(row), parse_float=Decimal, parse_int=Decimal, parse_constant=pytest.fail
    )
    assert Decimal(str(row["n"])) == Decimal(str(row["deep"][0]["n"])) == Decimal(number)
    assert written["n"] == written["deep"][0]["n"] == Decimal(number)
    change = decode(f'{{"operation":"INSERT","row":{text},"changed_at":1.25e0}}', "username")
    assert (change.row, change.changed_at) == (row, 1.25)


def test_a_number_that_a_float_holds_is_a_float_or_an_int() -> None:
    row = parse_row('{"int": 7, "float": 0.1, "large": 1e22, "exact": 0.10000000000000000001}')
    kinds = {name: type(value) for name, value in row.items()}
    assert kinds == {"int": int, "float": float, "large": float, "exact": Decimal}


@given(n=st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_stays_one(n: float) -> None:
    assert str(parse_row(dump_row({"n": n}))) == str({"n": n})


@given(n=st.decimals(allow_nan=False, allow_infinity=False), others=st.dictionaries(text, values))
def test_every_row_is_read_as_it_was_written(n: Decimal, others: dict[str, Any]) -> None:
    row = parse_row(dump_row({"others": others, "list": [n, str(n)]}))
    assert row["others"] == others
    assert [Decimal(str(value)) for value in row["list"]] == [n, n]


@pytest.mark.parametrize("value", [math.nan, math.inf, Decimal("NaN"), Decimal("-Infinity"), b"x"])
def test_what_is_no_json_is_not_written(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        dump_row({"n": value})


@pytest.mark.parametrize("text", ["", "7", "[]", "null", '{"n": NaN}', '{"n": Infinity}', "{"])
def test_what_is_no_row_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (its words depend on what is wrong)
        parse_row(text)
