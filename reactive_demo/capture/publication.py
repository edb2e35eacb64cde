"""Publishing a table's changes in the log (`sql/07_log.sql`), and taking that back."""

from collections.abc import Sequence

import psycopg

from reactive_demo.capture.schema import resolve
from reactive_demo.capture.slots import drop_slots
from reactive_demo.postgres import open_postgres

__all__ = ["forget_slots", "publish", "unpublish", "unpublish_all"]


def publish(connection: psycopg.Connection, name: str, exclude: Sequence[str] | None) -> None:
    """Publish what changes in the table, but for the columns in `exclude`."""
    connection.execute("SELECT reactive.publish(%s::regclass, %s)", [name, exclude])


def unpublish(connection: psycopg.Connection, name: str) -> bool:
    """Drop the table's publication; return whether there was one."""
    return _has_published(connection) and bool(
        connection.execute(
            "SELECT reactive.unpublish(table_name) FROM reactive.published WHERE table_name = %s",
            [name],
        ).rowcount
    )


def unpublish_all(connection: psycopg.Connection) -> None:
    """Drop all publications, also of tables that are gone."""
    if _has_published(connection):
        connection.execute("SELECT reactive.unpublish(table_name) FROM reactive.published")


def forget_slots(database_url: str, table: str | None) -> None:
    """Drop the slots that keep the log for `table`, or for any; no transaction can do that."""
    with open_postgres(database_url, "install") as connection:
        name = None if table is None else resolve(connection, table)
        if table is None or name is not None:
            drop_slots(connection, name)


def _has_published(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT to_regclass('reactive.published')").fetchone() != (None,)
