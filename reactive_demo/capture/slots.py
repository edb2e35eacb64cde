"""Replication slots: each keeps the log for one follower of one table, until it is dropped.

A slot that nobody reads keeps the log until the disk is full, or the server's
`max_slot_wal_keep_size` is reached. So its name says whose it is, and `uninstall` finds it.
"""

from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2s
from typing import Any

import psycopg

__all__ = ["Slot", "drop_slot", "drop_slots", "free_slot", "shown_size", "slot_name", "slots_of"]

DROP_ATTEMPTS = 20
"""How often a listener that comes back for its slot is sent away."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot of ours, as the server has it."""

    name: str
    retained: int
    """Bytes of the log that it keeps."""
    limit: int | None
    """How many it may keep before it is lost; None if there is no limit."""
    active: bool
    """Whether a listener reads it."""
    lost: bool
    """Whether the server has given it up: the next listener makes it anew, and fills the cache."""

    def __str__(self) -> str:
        if self.lost:
            return f"{self.name} is lost"
        reader = "a listener reads it" if self.active else "nobody reads it"
        return f"{self.name} retains {shown_size(self.retained)} of log, and {reader}"


def slots_of(connection: psycopg.Connection[Any], table: str | None) -> list[Slot]:
    """Return the slots that keep the log of `table`, or of any table of this database."""
    return [
        Slot(name, kept or 0, None if safe is None else (kept or 0) + safe, active, lost)
        for name, kept, safe, active, lost in connection.execute(
            SLOTS, [_pattern(connection, table)]
        )
    ]


def shown_size(count: int) -> str:
    """Return a number of bytes, for people."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"


def slot_name(connection: psycopg.Connection[Any], table: str, follower: str) -> str:
    """Return the name of the slot that keeps the log of `table` for `follower`.

    Slots of all databases share their names.
    """
    return f"{_prefix(connection, table)}_{_digest(follower)}"


def free_slot(connection: psycopg.Connection[Any], slot: str) -> None:
    """End the process that reads the slot, if any: its listener does not lead any more."""
    connection.execute(FREE, [slot])


def drop_slot(connection: psycopg.Connection[Any], slot: str) -> None:
    """Drop the slot, if it is there, also from under a listener that comes back for it."""
    for _ in range(DROP_ATTEMPTS):
        free_slot(connection, slot)
        with suppress(psycopg.errors.ObjectInUse):
            connection.execute(DROP, [slot])
            return
    connection.execute(DROP, [slot])


def drop_slots(connection: psycopg.Connection[Any], table: str | None) -> None:
    """Drop the slots for `table`, or for any table of this database."""
    for slot in slots_of(connection, table):
        drop_slot(connection, slot.name)


def _pattern(connection: psycopg.Connection[Any], table: str | None) -> str:
    prefix = "reactive_[0-9a-f]{12}" if table is None else _prefix(connection, table)
    return f"^{prefix}_[0-9a-f]{{12}}$"


def _prefix(connection: psycopg.Connection[Any], table: str) -> str:
    return f"reactive_{_digest(f'{connection.info.dbname} {table}')}"


def _digest(text: str) -> str:
    return blake2s(text.encode(), digest_size=6).hexdigest()


FREE = """
    SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots
    WHERE slot_name = %s AND active_pid IS NOT NULL
"""
"""Only one process can read a slot: end the one that still does."""

DROP = """
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
    WHERE slot_name = %s AND database = current_database()
"""

SLOTS = """
    SELECT slot_name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, safe_wal_size,
           active, wal_status = 'lost'
    FROM pg_replication_slots WHERE database = current_database() AND slot_name ~ %s
    ORDER BY 2 DESC NULLS FIRST
"""
"""Those in this database whose name matches."""
