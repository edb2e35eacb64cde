"""Publishing a table's changes in the log (`sql/07_log.sql`), and taking that back."""

from collections.abc import Sequence

import psycopg

__all__ = ["publish", "unpublish", "unpublish_all"]


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


def _has_published(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT to_regclass('reactive.published')").fetchone() != (None,)
