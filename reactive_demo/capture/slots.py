"""Replication slots: each keeps the log for one follower of one table, until it is dropped.

A slot that nobody reads keeps the log until the disk is full, or the server's
`max_slot_wal_keep_size` is reached. So its name says whose it is, and `uninstall` finds it.
"""

from hashlib import blake2s
from typing import Any

import psycopg

__all__ = ["drop_slot", "drop_slots", "free_slot", "slot_name"]


def slot_name(connection: psycopg.Connection[Any], table: str, follower: str) -> str:
    """Return the name of the slot that keeps the log of `table` for `follower`.

    Slots of all databases share their names.
    """
    return f"{_prefix(connection, table)}_{_digest(follower)}"


def free_slot(connection: psycopg.Connection[Any], slot: str) -> None:
    """End the process that reads the slot, if any: its listener does not lead any more."""
    connection.execute(FREE, [slot])


def drop_slot(connection: psycopg.Connection[Any], slot: str) -> None:
    """Drop the slot, if it is there."""
    free_slot(connection, slot)
    connection.execute(DROP, [slot])


def drop_slots(connection: psycopg.Connection[Any], table: str | None) -> None:
    """Drop the slots for `table`, or for any table of this database."""
    prefix = "reactive_[0-9a-f]{12}" if table is None else _prefix(connection, table)
    for (slot,) in connection.execute(SLOTS, [f"^{prefix}_[0-9a-f]{{12}}$"]).fetchall():
        drop_slot(connection, slot)


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
    SELECT slot_name FROM pg_replication_slots
    WHERE database = current_database() AND slot_name ~ %s
"""
"""Those in this database whose name matches."""
