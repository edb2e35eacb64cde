"""The messages of pgoutput, PostgreSQL's plugin for logical replication, protocol 1. No I/O.

The bytes are described in PostgreSQL's manual, "Logical Replication Message Formats". Values come
as text; what did not change and is stored apart (TOAST) is not sent, and is UNCHANGED here.
"""

import struct
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

__all__ = [
    "UNCHANGED",
    "Begin",
    "Commit",
    "Delete",
    "Message",
    "Relation",
    "Truncate",
    "Tuple",
    "Upsert",
    "decode",
]

POSTGRES_EPOCH = 946_684_800
"""PostgreSQL counts microseconds from the year 2000: this moment, in seconds since 1970."""


class Marker(Enum):
    """What stands in place of a value."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Marker.UNCHANGED

Value = str | Marker | None
Tuple = list[Value]
"""The values of a row's published columns, in the order of its Relation."""


class Begin(NamedTuple):
    """A transaction, sent whole once it is committed."""

    lsn: int
    """Where in the log its commit is."""
    committed_at: float
    """Seconds since the epoch."""
    xid: int
    """The lower 32 bits of its number."""


class Commit(NamedTuple):
    """The end of a transaction."""

    end: int
    """Where in the log its commit ends: it is not sent again to who continues from there."""


class Relation(NamedTuple):
    """What the next changes of a table look like; it comes before the first, and after DDL."""

    oid: int
    name: str
    columns: list[str]


class Upsert(NamedTuple):
    """A row that was inserted or updated."""

    relation: int
    old: Tuple | None
    """With a changed key: the old one. Only its columns have values, unless the table's replica
    identity is FULL: then it always comes, with the whole row."""
    new: Tuple


class Delete(NamedTuple):
    """A row that was deleted."""

    relation: int
    old: Tuple


class Truncate(NamedTuple):
    """Tables that were truncated."""

    relations: tuple[int, ...]


Message = Begin | Commit | Relation | Upsert | Delete | Truncate


def decode(data: bytes) -> Message | None:
    """Read one message; return None for a kind that tells nothing about rows."""
    read = READERS.get(data[0])
    return read(data) if read else None


def _begin(data: bytes) -> Begin:
    lsn, moment, xid = BEGIN(data)
    return Begin(lsn, POSTGRES_EPOCH + moment / 1e6, xid)


def _commit(data: bytes) -> Commit:
    return Commit(COMMIT(data)[0])


def _upsert(data: bytes) -> Upsert:
    oid, kind = CHANGED(data)
    old, at = (None, 5) if kind == NEW else _tuple(data, 6)
    return Upsert(oid, old, _tuple(data, at + 1)[0])


def _delete(data: bytes) -> Delete:
    return Delete(_oid(data), _tuple(data, 6)[0])


def _truncate(data: bytes) -> Truncate:
    (count,) = struct.unpack_from(">xI", data)
    return Truncate(struct.unpack_from(f">{count}I", data, 6))


def _oid(data: bytes) -> int:
    return int.from_bytes(data[1:5], "big")


def _tuple(data: bytes, at: int) -> tuple[Tuple, int]:
    """Read a row's values; return them, and where they end."""
    (count,) = COUNT(data, at)
    at += 2
    values: Tuple = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == TEXT:
            begin = at + 4
            at = begin + LENGTH(data, at)[0]
            values.append(str(data[begin:at], "utf-8"))
        else:
            values.append(UNCHANGED if kind == TOASTED else None)
    return values, at


TEXT, TOASTED = b"tu"
NEW = ord("N")
"""Stands before the new row; before the old one, if that is sent, stand K or O."""

BEGIN = struct.Struct(">xQqI").unpack_from
COMMIT = struct.Struct(">10xQ").unpack_from  # after the kind, flags, and where the commit begins
CHANGED = struct.Struct(">xIB").unpack_from
COUNT, LENGTH = struct.Struct(">H").unpack_from, struct.Struct(">I").unpack_from
"""Read once for each row and value: to look a format up would take as long as to read."""


def _relation(data: bytes) -> Relation:
    at = 5
    schema, at = _string(data, at)
    name, at = _string(data, at)
    (count,) = struct.unpack_from(">xH", data, at)  # after the replica identity
    at += 3
    columns = []
    for _ in range(count):
        column, at = _string(data, at + 1)  # after its flags
        columns.append(column)
        at += 8  # its type, and the type's modifier
    return Relation(_oid(data), f"{schema}.{name}", columns)


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


READERS: dict[int, Callable[[bytes], Message]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("R"): _relation,
    ord("I"): _upsert,
    ord("U"): _upsert,
    ord("D"): _delete,
    ord("T"): _truncate,
}
