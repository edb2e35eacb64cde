"""From the log's messages to what a batch brings: the last state of each key. No I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from reactive_demo.feeds.cursor import Cursor
from reactive_demo.feeds.log_rows import Layout
from reactive_demo.feeds.pgoutput import (
    Begin,
    Commit,
    Delete,
    Message,
    Relation,
    Truncate,
    Tuple,
    Upsert,
)
from reactive_demo.log_versions import version_at

__all__ = ["Changes", "is_visible"]


def is_visible(xid: int, snapshot: str) -> bool:
    """Return whether a `snapshot` contains the committed transaction with these lower 32 bits.

    A transaction is in the log a moment before others can see what it did.
    """
    taken = Cursor(snapshot)
    distance = (xid - taken.xmax + 2**31) % 2**32 - 2**31
    return distance < 0 and str(taken.xmax + distance) not in taken.parameters["in_progress"]


@dataclass(slots=True)
class Changes:
    """The changes of one table since the last batch.

    `layout` is asked how to read the values when a transaction brings a Relation, `ask_key` how a
    key looks of whose type no rule is known.
    """

    layout: Callable[[Relation, int], Layout]
    ask_key: Callable[[Sequence[str]], str]
    end: int
    """How far the log has been read: no transaction that is only partly here is below."""
    rows: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    """Row and version by key."""
    missing: dict[str, int] = field(default_factory=dict)
    """The keys whose rows the log does not tell, so that they must be looked up, with the numbers
    (the lower 32 bits) of the transactions that must be visible by then."""
    fresh: dict[str, int] = field(default_factory=dict)
    """The keys that were looked up, and how far the log went by then: what happened before is in
    those rows, so that the log's own, which are older, would take them back."""
    truncated: str | None = None
    """The version of the last TRUNCATE."""
    has_ended: bool = False
    """Whether a transaction has, so that the cursor moves on."""
    received: int = 0
    size: int = 0
    """About how many bytes the rows have."""
    changed_at: float | None = None
    """When the oldest of their transactions was committed."""
    transaction: Begin | None = None
    """The one that has begun and not ended."""
    _position: int = 0
    _layouts: dict[int, Layout] = field(default_factory=dict)

    def reach(self, end: int) -> None:
        """Note that the server has read the log up to there, and found nothing more to send."""
        if self.transaction is None:
            self.end = max(self.end, end)

    def take(self, message: Message | None) -> None:
        """Take in one message."""
        match message:
            case Upsert(relation, old, new):  # first what is most frequent
                version = self._next_version()
                layout = self._layouts[relation]
                key = self._key(layout, new, old)
                if old is not None and (old_key := self._key(layout, old, None)) != key:
                    self._put(old_key, None, version)
                row = layout.row(new)
                self._put(key, row, version, is_missing=row is None)
            case Begin():
                self.transaction, self._position = message, 0
            case Commit(end):
                self.transaction, self.has_ended = None, True
                self.end = max(self.end, end)
            case Relation():
                self._layouts[message.oid] = self.layout(message, self._begun.xid)
            case Delete(relation, old):
                self._put(self._key(self._layouts[relation], old, None), None, self._next_version())
            case Truncate():
                self.truncated = self._next_version()
                self.rows.clear()
                self.missing.clear()
                self.size = 0

    def clear(self) -> None:
        """Begin the next batch."""
        self.fresh = {key: end for key, end in self.fresh.items() if end > self.end}
        self.rows, self.missing, self.truncated, self.has_ended = {}, {}, None, False
        self.received, self.size, self.changed_at = 0, 0, None

    def _next_version(self) -> str:
        begun = self._begun
        self._position += 1
        self.received += 1
        if self.changed_at is None:
            self.changed_at = begun.committed_at
        return version_at(begun.lsn, self._position)

    @property
    def _begun(self) -> Begin:
        """The transaction that all but Begin belong to."""
        if self.transaction is None:
            raise ValueError("a change outside a transaction")
        return self.transaction

    def _put(self, key: str, row: str | None, version: str, *, is_missing: bool = False) -> None:
        self.rows[key] = (row, version)
        self.size += len(row or "")
        if is_missing or self._begun.lsn < self.fresh.get(key, 0):
            self.missing[key] = self._begun.xid
        else:
            self.missing.pop(key, None)

    def _key(self, layout: Layout, values: Tuple, old: Tuple | None) -> str:
        parts = layout.key_values(values, old)
        key = layout.key(parts)
        return self.ask_key(parts) if key is None else key
