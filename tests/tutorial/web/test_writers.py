"""Writes in threads: many in one transaction, and what is wrong with one is not another's."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import psycopg

from reactive_demo.tutorial.web.writers import THREADS, Writers
from tools.waiting import until
from tutorial.web.conftest import Web


def waiting(web: Web) -> int:
    """How many transactions of the database wait for a lock."""
    with psycopg.connect(web.database_url) as connection:
        return connection.execute(
            "SELECT FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ).rowcount


def test_a_write_that_fails_does_so_alone(web: Web) -> None:
    """All threads wait for locked rows, so that the three writes after them share a transaction."""
    locked = [f"locked{n}" for n in range(THREADS)]
    for name in (*locked, "full"):
        web.profiles.increment(name, "likes")

    async def write(blocker: "psycopg.Connection") -> list[object]:
        writers = Writers(web.database_url)
        written = []
        for number, name in enumerate(locked, 1):
            written.append(writers.increment(name, "likes"))
            until("it waits", lambda n=number: waiting(web) == n)
        written += [writers.increment(name, "likes") for name in ("ada", "full", "bob")]
        blocker.rollback()
        try:
            return await asyncio.gather(*written, return_exceptions=True)
        finally:
            writers.close()

    with psycopg.connect(web.database_url) as connection:
        connection.execute(
            "UPDATE profile SET likes_count = 9223372036854775807 WHERE username = 'full'"
        )
        connection.commit()
        connection.execute("SELECT FROM profile WHERE username LIKE 'locked_' FOR UPDATE")
        with ThreadPoolExecutor(1) as aside:  # where no loop runs
            answers = aside.submit(asyncio.run, write(connection)).result(60)
    assert [type(answer) for answer in answers] == [
        *[int] * THREADS,
        int,
        psycopg.errors.NumericValueOutOfRange,
        int,
    ]
    assert [web.profiles.get(name)["likes_count"] for name in ("ada", "bob")] == [1, 1]
