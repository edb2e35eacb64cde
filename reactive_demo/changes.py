"""What changed: values that travel from a feed to the cache. No I/O."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "Batch",
    "Change",
    "Lease",
    "State",
    "UnreadableRow",
    "Versioned",
    "into_batches",
]

Item = TypeVar("Item")


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


def into_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield `items` in lists of `size`, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
