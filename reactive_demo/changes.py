"""What changed: values that travel from a feed to the cache, decoded and conflated. No I/O."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from reactive_demo.state import State

__all__ = ["Batch", "Change", "Position", "Unread", "Versioned", "conflate", "decode"]


@dataclass(frozen=True, slots=True)
class Change:
    """How one key looks after a change, as a notification tells it."""

    key: str
    """The primary key of the row."""
    row: dict[str, Any] | None
    """The row's columns; None for a deleted row."""


class Versioned(NamedTuple):
    """How one key looks, with its version; the row is the JSON text that the cache holds."""

    key: str
    """The primary key, as text."""
    row: str | None
    """The row's columns, a JSON object; None for a deleted row."""
    version: str
    """A decimal number: each change of a key has a greater one than those before."""


class Unread(NamedTuple):
    """A row that changed and that PostgreSQL cannot show: the cache keeps what it has."""

    key: str
    """The primary key, as text."""
    version: str
    """The version that it has."""
    reason: str
    """What PostgreSQL says."""


@dataclass(frozen=True, slots=True)
class Position:
    """A leader's place in the cache: what it must show to write, and how far it has read."""

    fence: str
    """A token; whoever leads next puts another in its place, and this one is refused."""
    epoch: str
    """A decimal number: rows of a greater one replace rows of a smaller one, whatever version."""
    cursor: str | None
    """What has been read, or None if the cache must be filled."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a session hands over at once; the cache takes all of it or nothing."""

    state: State
    """What the session is doing."""
    changes: Sequence[Change] | Sequence[Versioned] = ()
    """Each key once."""
    position: Position | None = None
    """For versioned changes: the place of the leader who read them."""
    unread: Sequence[Unread] = ()
    """Rows that changed, and that could not be read."""
    number: int = 0
    """Of that leader's batches the 1st, 2nd, ...: refused unless the one before is in the cache."""
    partial: bool = False
    """More of the same number follows."""
    cursor: str | None = None
    """What has been read when this batch is written."""
    below: str | None = None
    """Remove the rows of older epochs, and of this one's those with a smaller version."""
    received: int = 0
    """Changes heard, before conflation."""
    unreadable: int = 0
    """Notifications passed over because they were no changes."""
    changed_at: float | None = None
    """Seconds since the epoch, by the database's clock, of its oldest change; None: not known."""
    note: str = ""
    """How far it is, for people."""


def decode(payload: str, key_column: str) -> Change:
    """Read a notification of `sql/03_notify.sql`.

    Raises ValueError for a payload that is not one: anyone who may connect may NOTIFY.
    """
    try:
        message = json.loads(payload)
        operation, row = message["operation"], message["row"]
        key = row[key_column]
        # Python reads what no cache can hold: NaN, half of a surrogate pair.
        json.dumps(row, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"not a change: {error!r}") from None
    if not isinstance(key, str):
        raise ValueError(f"not a change: the key {key!r} is no text")  # noqa: TRY004
    return Change(key, None if operation == "DELETE" else row)


def conflate(changes: Iterable[Change]) -> list[Change]:
    """Only the last change of each key: a cache keeps state, not history."""
    return list({change.key: change for change in changes}.values())
