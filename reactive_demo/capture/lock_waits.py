"""The sessions that hold up an installation, looked up while it waits: afterwards they are gone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from reactive_demo.postgres import open_postgres

__all__ = ["watched"]

LOOK = 0.1
"""Seconds between two looks; an installation that nobody holds up is over before the first."""

BLOCKERS = """
    SELECT format('process %%s (%%s, %%s, its last query begun %%s s ago)', b.pid,
                  coalesce(nullif(a.application_name, ''), 'without a name'),
                  coalesce(a.state, 'of another user'),
                  coalesce(round(extract(epoch FROM clock_timestamp() - a.query_start))::text, '?'))
    FROM unnest(pg_blocking_pids(%s)) b (pid) LEFT JOIN pg_stat_activity a USING (pid)
    ORDER BY a.xact_start
"""


@contextmanager
def watched(database_url: str, pid: int, blockers: list[str]) -> Iterator[None]:
    """Keep in `blockers` who was last seen to hold up the backend `pid`, in words."""
    over = threading.Event()

    def look() -> None:
        if over.wait(LOOK):
            return
        with (
            suppress(psycopg.Error),
            open_postgres(database_url, "lock waits") as connection,
        ):
            while True:
                if found := connection.execute(BLOCKERS, [pid]).fetchall():
                    blockers[:] = [words for (words,) in found]
                if over.wait(LOOK):
                    return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
