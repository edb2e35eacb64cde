"""Increments, and the versions to wait for: of a published table, they need the log's end."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from reactive_demo.log_versions import version_to_await

if TYPE_CHECKING:
    from reactive_demo.postgres import PatientConnection

__all__ = ["LOG_END", "Increments"]

Row = dict[str, Any]

# Qualified throughout: these sessions may be a pooler's, and are not pinned to pg_catalog.
INCREMENT = """
    SELECT reactive.increment(i.who, i.counter) AS version,
           pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0') AS log_end, (
        SELECT pg_catalog.count(*) FROM pg_catalog.pg_publication p
        WHERE p.pubname OPERATOR(pg_catalog.=) 'reactive_public_profile_b67d9745') AS published
    FROM (SELECT pg_catalog.set_config('lock_timeout', COALESCE(
        %s::pg_catalog.text, pg_catalog.current_setting('lock_timeout')), true)) AS s (wait),
    ROWS FROM (
        pg_catalog.unnest(%s::pg_catalog.text[]), pg_catalog.unnest(%s::pg_catalog.text[])
    ) AS i (who, counter)
    WHERE s.wait IS NOT NULL
"""
"""The publication is `reactive.publication_of('public.profile')`."""

LOG_END = """
    SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0') AS log_end
"""


class Increments:
    """Runs increments. It remembers whether the table is published, which saves a round trip."""

    def __init__(self) -> None:
        self._is_published = False

    def run(self, connection: "PatientConnection", *arguments: object) -> list[int | None]:
        """Increment, in a transaction; return the versions."""
        end: Row = {}
        if self._is_published:
            rows, end = _at_once(connection, arguments)
        else:
            rows = connection.execute(INCREMENT.encode(), arguments).fetchall()
        self._is_published = any(row["published"] for row in rows)
        if not self._is_published:
            return [row["version"] for row in rows]
        if not end:
            (end,) = connection.execute(LOG_END.encode()).fetchall()
        committed = int(end["log_end"])
        return [r["version"] or version_to_await(int(r["log_end"]), committed) for r in rows]


def _at_once(connection: "PatientConnection", arguments: Sequence[object]) -> tuple[list[Row], Row]:
    """Increment, commit, and ask for the log's end, in one round trip."""
    with psycopg.ClientCursor(connection, row_factory=dict_row) as cursor:
        try:
            cursor.execute(f"BEGIN; {INCREMENT}; COMMIT; {LOG_END}".encode(), arguments)
        except psycopg.Error:
            with suppress(psycopg.Error):
                connection.rollback()
            raise
        cursor.nextset()
        rows = cursor.fetchall()
        while cursor.nextset():
            pass
        return rows, cursor.fetchall()[0]
