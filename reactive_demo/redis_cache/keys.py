"""The names of Redis keys, and how to read a row's version. A row's key is its channel too."""

import re
from typing import NamedTuple

__all__ = [
    "Stamp",
    "feed_key",
    "load_key",
    "marker_key",
    "quarantine_key",
    "row_key",
    "row_pattern",
    "stamp",
    "stream_key",
]

STAMP = re.compile(r"([0-9]{1,40}):([0-9]{1,40})")


class Stamp(NamedTuple):
    """What the field `version` of a cached row says: `epoch:version`, two decimal numbers."""

    epoch: str
    """Which life of the database the row is from."""
    version: str
    """Greater for each later change of the row in this epoch."""


def stamp(field: str | None) -> Stamp | None:
    """Read the field `version`; None if there is none, or another program or release wrote it."""
    found = STAMP.fullmatch(field or "")
    return Stamp(*found.groups()) if found else None


def row_key(table: str, key: str) -> str:
    """Return the key of the row of `table` with this primary key."""
    return f"{table}:{key}"


def row_pattern(table: str) -> str:
    """Return the pattern that the keys, and channels, of the rows of `table` match."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", row_key(table, "")) + "*"


def feed_key(table: str) -> str:
    """Return the key of the feed's hash: fencing token, epoch, cursor, newest term."""
    return f"reactive_demo:feed:{table}"


def marker_key(table: str, tag: str) -> str:
    """Return the key of what stands for the feed's hash on a node of a cluster."""
    return f"reactive_demo:feed:{{{tag}}}:{table}"


def quarantine_key(table: str) -> str:
    """Return the key of the rows in quarantine, with their reasons."""
    return f"reactive_demo:aside:{table}"


def load_key(table: str, key: str, tag: str = "") -> str:
    """Return the key that one reader holds while it loads a missing row; on that node."""
    return (
        f"reactive_demo:load:{{{tag}}}:{table}:{key}"
        if tag
        else f"reactive_demo:load:{table}:{key}"
    )


def stream_key(table: str) -> str:
    """Return the key of the stream that write-behind has still to write into the database."""
    return f"reactive_demo:behind:{table}"
