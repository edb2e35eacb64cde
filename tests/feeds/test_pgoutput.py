"""The decoder, on bytes written by hand after PostgreSQL's manual."""

import struct

import pytest

from reactive_demo.feeds.log_changes import Changes, is_visible, version_at
from reactive_demo.feeds.log_rows import Layout
from reactive_demo.feeds.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Message,
    Relation,
    Truncate,
    Upsert,
    decode,
)
from reactive_demo.feeds.table import CapturedTable, Column

ONE = b"\x00\x00\x00\x07"
"""An oid: 7."""


def values(*texts: str | None) -> bytes:
    """A tuple of values: None is NULL, `u` stands for one that did not change."""
    parts = [struct.pack(">H", len(texts))]
    for text in texts:
        if text is None or text == "u":
            parts.append(b"n" if text is None else b"u")
        else:
            parts.append(b"t" + struct.pack(">I", len(text.encode())) + text.encode())
    return b"".join(parts)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"B" + struct.pack(">QqI", 100, 1_500_000, 9), Begin(100, 946_684_801.5, 9)),
        (b"C\0" + struct.pack(">QQq", 100, 130, 0), Commit(130)),
        (
            b"R" + ONE + b"public\0orders\0d\x00\x02"
            b"\x01id\0\x00\x00\x00\x17\xff\xff\xff\xff"
            b"\x00n\xc3\xa9\0\x00\x00\x00\x19\xff\xff\xff\xff",
            Relation(7, "public.orders", ["id", "né"]),
        ),
        (b"I" + ONE + b"N" + values("1", None, "ü"), Upsert(7, None, ["1", None, "ü"])),
        (b"U" + ONE + b"N" + values("1", "u"), Upsert(7, None, ["1", UNCHANGED])),
        (
            b"U" + ONE + b"K" + values("1", None) + b"N" + values("2", ""),
            Upsert(7, ["1", None], ["2", ""]),
        ),
        (
            b"U" + ONE + b"O" + values("1", "a") + b"N" + values("1", "b"),
            Upsert(7, ["1", "a"], ["1", "b"]),
        ),
        (b"D" + ONE + b"K" + values("1", None), Delete(7, ["1", None])),
        (b"D" + ONE + b"O" + values("1", "a"), Delete(7, ["1", "a"])),
        (b"T" + struct.pack(">IB2I", 2, 1, 7, 8), Truncate((7, 8))),
        (b"O" + struct.pack(">Q", 1) + b"origin\0", None),
        (b"Y" + ONE + b"public\0color\0", None),
    ],
)
def test_each_message_is_read(data: bytes, message: Message | None) -> None:
    assert decode(data) == message


# What the messages become


ID = Column("id", "integer", "bare", is_strange=False, is_domain=False)
TABLE = CapturedTable(
    "public.orders",
    "",
    "t.id::text",
    [ID],
    ["="],
    [">"],
    [ID, Column('"a ""b"""', "text", "bare", is_strange=False, is_domain=False)],
    "23,25",
)


def ask(parts: object) -> str:
    raise AssertionError(parts)


@pytest.fixture
def changes() -> Changes:
    """What has changed, in the midst of a transaction that is committed at 100."""
    found = Changes(lambda relation, _: Layout(TABLE, relation.columns), ask, end=50)
    found.take(Begin(100, 5.0, 9))
    found.take(Relation(7, "public.orders", ["id", 'a "b"']))
    return found


def test_the_last_state_of_a_key_counts_and_its_place_in_the_transaction(changes: Changes) -> None:
    changes.take(Upsert(7, None, ["1", "x"]))
    changes.take(Upsert(7, None, ["2", None]))
    changes.take(Delete(7, ["1", None]))
    assert changes.rows == {
        "1": (None, "1000000000003"),
        "2": ('{"id":2,"a \\"b\\"":null}', "1000000000002"),
    }
    assert (changes.received, changes.changed_at) == (3, 5.0)


def test_a_changed_key_is_two_changes(changes: Changes) -> None:
    changes.take(Upsert(7, ["1", None], ["2", UNCHANGED]))
    assert changes.rows == {"1": (None, version_at(100, 1)), "2": (None, version_at(100, 1))}
    assert changes.missing == {"2": 9}
    changes.take(Upsert(7, None, ["2", "x"]))
    assert changes.missing == {}


def test_a_key_that_did_not_change_is_no_deletion(changes: Changes) -> None:
    changes.take(Upsert(7, ["1", "x"], ["1", "y"]))
    assert set(changes.rows) == {"1"}
    changes.take(Upsert(7, ["1", "x"], [UNCHANGED, "z"]))
    assert set(changes.rows) == set(changes.missing) == {"1"}


def test_truncate_forgets_what_was_before_and_not_what_is_after(changes: Changes) -> None:
    changes.take(Upsert(7, None, ["1", UNCHANGED]))
    changes.take(Truncate((7,)))
    changes.take(Upsert(7, None, ["2", "x"]))
    assert (set(changes.rows), changes.missing) == ({"2"}, {})
    assert changes.truncated == version_at(100, 2)
    changes.clear()
    assert changes.truncated is None


def test_nothing_is_read_to_its_end_before_the_commit(changes: Changes) -> None:
    changes.reach(140)
    assert changes.end == 50
    changes.take(Commit(130))
    assert changes.end == 130
    changes.reach(140)
    assert changes.end == 140
    changes.reach(120)
    assert changes.end == 140


def test_versions_of_later_commits_are_greater_and_those_of_the_filled_table_least() -> None:
    versions = [version_at(99, 10**9), version_at(100, 0), version_at(100, 1), version_at(1000, 1)]
    assert [int(version) for version in versions] == sorted(map(int, versions))


@pytest.mark.parametrize(
    ("xid", "snapshot", "seen"),
    [
        (9, "10:10:", True),
        (10, "10:10:", False),
        (9, "9:12:9,11", False),
        (10, "9:12:9,11", True),
        (5, f"{2**33 + 6}:{2**33 + 6}:", True),  # the number's upper bits are not sent
        (2**32 - 1, f"{2**32}:{2**32 + 1}:", True),
        (2**32 - 1, f"{2**32 - 1}:{2**32 + 1}:{2**32 - 1}", False),
        (3, f"{2**32 - 1}:{2**32 - 1}:", False),
    ],
)
def test_a_snapshot_shows_a_transaction_or_not(xid: int, snapshot: str, seen: bool) -> None:
    assert is_visible(xid, snapshot) is seen
