"""What changed: values that travel from a feed to the cache, decoded and conflated. No I/O."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from reactive_demo.exact_json import dump_row, parse

__all__ = [
    "Batch",
    "Change",
    "Lease",
    "State",
    "UnreadableRow",
    "Versioned",
    "conflate",
    "decode",
    "into_batches",
]

Item = TypeVar("Item")

LATEST = 1e12
"""A moment so far off, in seconds since the epoch, that no clock is wrong by so much."""


class State(StrEnum):
    """What a listener is doing."""

    CONNECTING = "connecting"
    LISTENING = "listening"
    STANDBY = "standby"
    CATCHING_UP = "catching up"
    LIVE = "live"
    DEGRADED = "degraded"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Change:
    """The state of one key after a change, as a notification carries it."""

    key: str
    """The primary key of the row."""
    row: dict[str, Any] | None
    """The row's columns; None for a deleted row."""
    changed_at: float | None = None
    """Seconds since the epoch, by the database's clock; None if the payload does not say."""


class Versioned(NamedTuple):
    """The state of one key with its version; the row is the JSON text that the cache holds."""

    key: str
    """The primary key, as text."""
    row: str | None
    """The row's columns, a JSON object; None for a deleted row."""
    version: str
    """A decimal number, greater for each later change of the key."""


class UnreadableRow(NamedTuple):
    """A changed row that PostgreSQL cannot show; the cache keeps what it has."""

    key: str
    """The primary key, as text."""
    version: str
    """The version that the row has now."""
    reason: str
    """PostgreSQL's error."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A leader's right to write the cache, until the next leader takes it."""

    token: str
    """The fencing token: Redis refuses batches that show any other than the newest."""
    epoch: str
    """A decimal number: rows of a greater epoch replace those of a smaller, whatever version."""
    cursor: str | None
    """How far the feed had been read when the lease was taken; None if the cache must be filled."""
    sequence: int = 0
    """Batches written under the lease: each is refused unless its predecessor is in the cache."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a session hands over at once; the cache takes all of it or nothing."""

    state: State
    """What the session is doing."""
    changes: Sequence[Change] | Sequence[Versioned] = ()
    """Each key once."""
    unreadable_rows: Sequence[UnreadableRow] = ()
    """Rows that changed and could not be read."""
    cursor: str | None = None
    """How far the feed has been read once this batch is written."""
    evict_below: str | None = None
    """Remove the rows of older epochs, and of this epoch those with a smaller version."""
    received: int = 0
    """Changes heard, before conflation; 0 if that is the number of rows."""
    undecodable: int = 0
    """Notifications skipped because they were not changes."""
    changed_at: float | None = None
    """Seconds since the epoch, by the database's clock, of its oldest change; None if unknown."""
    progress: str = ""
    """How far a long read has come, for people."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write; such a batch only tells the state."""
        return not (
            self.changes
            or self.unreadable_rows
            or self.undecodable
            or self.cursor is not None
            or self.evict_below is not None
        )

    @property
    def may_overlap(self) -> bool:
        """Whether it may be on its way to the cache while the next is read: no cursor moves."""
        goes_on = self.state is State.CATCHING_UP and self.cursor is None
        return goes_on and bool(self.changes) and self.evict_below is None

    @property
    def rows(self) -> int:
        """How many keys it is about."""
        return len(self.changes) + len(self.unreadable_rows)


def decode(payload: str, key_column: str) -> Change:
    """Read a notification of `sql/03_notify.sql`.

    Raises ValueError for a payload that is not one: anyone who may connect may NOTIFY.
    """
    try:
        message = parse(payload)
        operation, row = message["operation"], message["row"]
        key = row[key_column]
        changed_at = message.get("changed_at")
        dump_row(row).encode()  # Python accepts what no cache can hold: half of a surrogate pair
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a change: {error!r}") from None
    if not isinstance(key, str):
        raise ValueError(f"not a change: the key {key!r} is not text")  # noqa: TRY004
    if changed_at is not None and not _is_moment(changed_at):
        raise ValueError("not a change: changed_at is no number of seconds")
    moment = None if changed_at is None else float(changed_at)
    return Change(key, None if operation == "DELETE" else row, moment)


def _is_moment(value: object) -> bool:
    """Return whether `value` can be calculated with: JSON has numbers of any size."""
    return isinstance(value, int | float | Decimal) and -LATEST < value < LATEST


def conflate(changes: Iterable[Change]) -> list[Change]:
    """Keep only the last change of each key: a cache holds state, not history."""
    return list({change.key: change for change in changes}.values())


def into_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield `items` in lists of `size`, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
