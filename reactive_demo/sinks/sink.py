"""What a listener needs of a cache, and so of whatever it feeds in a cache's place."""

from collections.abc import Callable
from typing import Any, Protocol

from reactive_demo.changes import Batch, Lease

__all__ = ["Leaders", "Records", "Sink"]


class Leaders(Protocol):
    """What a sink knows of its listeners."""

    def open_term(self, kind: str) -> int:
        """Become the newest listener with a feed of that kind; return the number of its term."""

    def current_term(self, kind: str) -> int:
        """Return the number of the newest term."""

    def seconds_without_leader(self) -> float:
        """Return how long ago a leader last wrote; infinity if none ever did."""


class Records(Protocol):
    """Where a listener notes which rows could not be written."""

    def add(self, key: str, version: str, reason: str) -> None:
        """Record that a version of the row could not be written, and why."""


class Sink(Protocol):
    """The side of a cache that a listener writes. `Cache` is one."""

    table: str

    @property
    def unannounced(self) -> int:
        """Changes that were written and not announced, for want of a right or of a queue."""

    @property
    def name(self) -> str:
        """The address, without user and password."""

    @property
    def identity(self) -> str:
        """What all who reach it call it, however they spell its address."""

    @property
    def leaders(self) -> Leaders:
        """What it knows of its listeners."""

    @property
    def quarantine_records(self) -> Records:
        """Which rows could not be written, and why."""

    def acquire_lease(
        self, incarnation: str, *, new_epoch: bool = False, whatever_database: bool = False
    ) -> Lease:
        """Become the leader: the batches of the one before are refused from now on."""

    def write(self, batch: Batch, lease: Lease | None, *, partial: bool = False) -> int:
        """Write what `batch` brings, with its cursor; return how many rows were newer."""

    def begin_write(self, batch: Batch, lease: Lease) -> Callable[[], int]:
        """Begin to write a batch that `may_overlap`; return what completes it, as `write` does."""

    def release(self) -> None:
        """Let another listener lead."""

    def has_cursor(self) -> bool:
        """Return whether it knows how far its feed was read."""

    def missing_rights(self, *, versioned: bool = True) -> Any:
        """Return what its account may not do."""

    def evictions(self) -> tuple[int, int]:
        """Return at how many bytes it throws rows away, and how many it has; (0, 0) if never."""
