"""What the sinks of brokers share: messages, leases, and the position beside the messages.

Each change is a message in JSON, `{"key": ..., "epoch": ..., "version": ..., "row": ...}`, and the
row of a deleted key is null. A message may come twice after a failure, and then the later one is no
newer: a reader that compares (epoch, version), as the cache does, takes each once. A message whose
key is null says that all rows below its epoch and version are gone, unless they come again: after a
fill, or TRUNCATE.

The position, which is the cursor and what belongs to it, is a message in the broker as well, sent
only once the broker has the batch. If the broker loses one, it has lost the other.
"""

import json
import logging
import re
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

from reactive_demo.changes import Batch, Lease, Versioned
from reactive_demo.errors import ConfigurationError, FencedError, RefusedError
from reactive_demo.sinks.sink import Leaders

__all__ = ["BrokerSink", "ValueRefusedError"]

log = logging.getLogger(__name__)

GONE_AFTER = 6
"""Seconds since its last write after which another database's leader is taken to be gone."""

INCARNATION = re.compile(r"(\d+/\d+)/([0-9a-fA-F]{8})/")
"""Server and database, then the timeline."""


class ValueRefusedError(ValueError):
    """The broker takes other messages, but not this one: it goes into quarantine."""


class BrokerSink(ABC):
    """The changes of one table, as messages. One listener at a time uses it.

    The methods raise UnavailableError while the broker does not answer: the listener tries again,
    from the position that the broker has.
    """

    def __init__(self, url: str, table: str, topic: str | None) -> None:
        self.url = url
        self.table = table
        self.topic = topic or f"reactive_demo.{table}"
        """Where the messages go: a topic of Kafka's, an exchange of RabbitMQ's."""
        self.unannounced = 0
        self._token = ""
        self._position: dict[str, Any] = {}
        self._sequence = 0

    @property
    @abstractmethod
    def name(self) -> str:
        """The address, without user and password."""

    @property
    def identity(self) -> str:
        """The same: a broker has no place to keep one of its own."""
        return self.name

    @property
    def leaders(self) -> Leaders:
        """What the broker knows of the listeners."""
        return cast("Leaders", self)

    @property
    def quarantine_records(self) -> Self:
        """The sink itself, which writes such rows into the log."""
        return self

    def add(self, key: str, version: str, reason: str) -> None:
        """Log that a version of the row could not be sent, and why."""
        log.warning("version %s of %s is not in %s: %s", version, key, self.topic, reason)

    def acquire_lease(
        self, incarnation: str, *, new_epoch: bool = False, whatever_database: bool = False
    ) -> Lease:
        """Become the only writer, and read the position; another incarnation begins a new epoch."""
        try:
            return self._acquire(incarnation, new_epoch=new_epoch, checked=not whatever_database)
        except BaseException:
            self.release()  # the next attempt begins with a new connection
            raise

    def _acquire(self, incarnation: str, *, new_epoch: bool, checked: bool) -> Lease:
        if not self._token:
            if checked:
                _refuse_another(self._peek(), incarnation)
            self._open()
            self._position = self._read_position()
            self._token = uuid.uuid4().hex
        held = self._position
        if checked:
            _refuse_another(held, incarnation)
        if new_epoch or held.get("incarnation") != incarnation:
            epoch = max(int(held.get("epoch", 0)) + 1, int(time.time()))
            held = {"epoch": str(epoch), "incarnation": incarnation, "cursor": None}
        self._sequence = 0
        self._keep(held)
        return Lease(self._token, held["epoch"], held["cursor"])

    def write(self, batch: Batch, lease: Lease | None, *, partial: bool = False) -> int:
        """Send the batch, then its cursor; return how many messages that were."""
        if lease is None or (lease.token, lease.sequence) != (self._token, self._sequence):
            raise FencedError("another listener leads now, or the broker was away")
        changes = cast("Sequence[Versioned]", batch.changes)
        messages: list[tuple[str | None, str]] = [
            (key, _message(json.dumps(key), lease.epoch, version, row))
            for key, row, version in changes
        ]
        if batch.evict_below is not None:
            gone = _message("null", lease.epoch, batch.evict_below, None)
            messages.insert(0, (None, gone))
        if partial:
            self._send(messages, None)
            return len(changes)
        position = {**self._position, "cursor": batch.cursor or self._position["cursor"]}
        self._send(messages, position)
        self._position = position
        self._sequence += 1
        return len(changes)

    def begin_write(self, batch: Batch, lease: Lease) -> Callable[[], int]:
        """Return what does as `write`: a broker's batch begins when the one before has ended."""
        return lambda: self.write(batch, lease)

    def release(self) -> None:
        """Close the connection: nothing more can come from here, and another one may lead."""
        self._token = ""
        self._close()

    def has_cursor(self) -> bool:
        """Refuse a feed without cursors. Raises ConfigurationError."""
        raise ConfigurationError(
            "A broker is fed from a position, and NotifyFeed has none: use a ChangeTableFeed or a "
            "LogFeed."
        )

    def missing_rights(self, *, versioned: bool = True) -> str:
        """Return nothing: a broker says itself what it refuses."""
        del versioned
        return ""

    def evictions(self) -> tuple[int, int]:
        """Return (0, 0): a broker throws no rows away."""
        return 0, 0

    def close(self) -> None:
        """Close the connections."""
        self.release()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.table})"

    @abstractmethod
    def open_term(self, kind: str) -> int:
        """Become the newest listener with a feed of that kind; return the number of its term."""

    @abstractmethod
    def current_term(self, kind: str) -> int:
        """Return the number of the newest term; 0 if there is none."""

    @abstractmethod
    def seconds_without_leader(self) -> float:
        """Return how long ago a leader last wrote; infinity if none ever did."""

    def _peek(self) -> dict[str, Any]:
        """Return the newest position, in nobody's way; empty where `_open` is in nobody's way."""
        return {}

    @abstractmethod
    def _open(self) -> None:
        """Connect, and become the only writer."""

    @abstractmethod
    def _close(self) -> None:
        """Close the connection, which may be lost already."""

    @abstractmethod
    def _read_position(self) -> dict[str, Any]:
        """Return the newest position; empty if the broker has none."""

    @abstractmethod
    def _send(
        self, messages: Sequence[tuple[str | None, str]], position: dict[str, Any] | None
    ) -> None:
        """Send messages (key, body), wait until the broker has them, then send the position.

        Raises ValueRefusedError for a message that is too large.
        """

    def _keep(self, position: dict[str, Any]) -> None:
        """Send a position, and remember it."""
        position["alive"] = time.time()
        self._send([], position)
        self._position = position


def _message(key: str, epoch: str, version: str, row: str | None) -> str:
    """Return a message; the row is JSON already."""
    return f'{{"key":{key},"epoch":"{epoch}","version":"{version}","row":{row or "null"}}}'


def _refuse_another(held: dict[str, Any], incarnation: str) -> None:
    """Raise RefusedError if another database writes here, or this one went back in time."""
    known, mine = (INCARNATION.match(one) for one in (held.get("incarnation") or "", incarnation))
    if not known or not mine:
        return
    silence = time.time() - float(held.get("alive", 0))
    if known[1] != mine[1] and silence < GONE_AFTER:
        raise RefusedError(
            f"Another database wrote this topic {silence:.0f} s ago: give each a topic of its own, "
            "or stop the other one's listener."
        )
    if known[1] == mine[1] and mine[2] < known[2]:
        raise RefusedError(
            f"This topic followed the database to timeline {known[2]}, and this server is on an "
            f"earlier one, {mine[2]}: let DATABASE_URL name the primary."
        )
