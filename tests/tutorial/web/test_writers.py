"""Writes in threads: many in one transaction, and what is wrong with one is not another's."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from reactive_demo import ProfileApp, Stack, install
from reactive_demo.errors import LockTimeoutError, RefusedError
from reactive_demo.tutorial.web import WebOptions
from reactive_demo.tutorial.web.writers import THREADS, Writers
from tools.databases import new_database
from tools.loops import run_coroutine
from tools.waiting import until
from tools.web import ask, update
from tutorial.web.conftest import Web


def waiting(web: Web) -> int:
    """How many transactions of the database wait for a lock."""
    with psycopg.connect(web.database_url) as connection:
        return connection.execute(
            "SELECT FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ).rowcount


def write(
    web: Web, options: WebOptions, scenario: Callable[[Writers], Awaitable[object]]
) -> object:
    """Run a scenario with writers of its own."""

    async def run() -> object:
        writers = Writers(web.database_url, options)
        try:
            return await scenario(writers)
        finally:
            writers.close()

    return run_coroutine(run())


@pytest.fixture
def blocker(web: Web) -> Iterator[psycopg.Connection]:
    """A transaction of somebody else, which locks rows."""
    with psycopg.connect(web.database_url) as connection:
        yield connection
        connection.rollback()


def lock(blocker: psycopg.Connection, web: Web, names: list[str]) -> None:
    for name in names:
        web.profiles.increment(name, "likes")
    blocker.execute("SELECT FROM profile WHERE username = ANY (%s) FOR UPDATE", [names])


def test_a_write_that_fails_does_so_alone(web: Web, blocker: psycopg.Connection) -> None:
    """All threads wait for locked rows, so that the three writes after them share a transaction."""
    locked = [f"locked{n}" for n in range(THREADS)]
    web.profiles.increment("full", "likes")
    blocker.execute("UPDATE profile SET likes_count = 9223372036854775807 WHERE username = 'full'")
    blocker.commit()
    lock(blocker, web, locked)

    async def scenario(writers: Writers) -> list[object]:
        written = []
        for number, name in enumerate(locked, 1):
            written.append(writers.increment(name, "likes"))
            until("it waits", lambda n=number: waiting(web) == n)
        written += [writers.increment(name, "likes") for name in ("ada", "full", "bob")]
        blocker.rollback()
        return await asyncio.gather(*written, return_exceptions=True)

    answers = write(web, WebOptions(lock_timeout=60, lock_patience=60), scenario)
    assert [type(answer) for answer in answers] == [
        *[int] * THREADS,
        int,
        psycopg.errors.NumericValueOutOfRange,
        int,
    ]
    assert [web.profiles.get(name)["likes_count"] for name in ("ada", "bob")] == [1, 1]


def test_locked_rows_hold_up_no_other_and_are_written_once_they_are_free(
    web: Web, blocker: psycopg.Connection
) -> None:
    """More locked rows than threads, in the same batches as the others, and each several times."""
    locked = [f"held{n}" for n in range(2 * THREADS)]
    free = [f"free{n}" for n in range(20)]
    lock(blocker, web, locked)

    async def scenario(writers: Writers) -> None:
        held, others = [], []
        for _ in range(3):
            held += [writers.increment(name, "likes") for name in locked]
            others += [writers.increment(name, "likes") for name in free]
            assert all(await asyncio.gather(*others))
        assert not any(one.done() for one in held)
        blocker.rollback()
        assert all(await asyncio.gather(*held))

    write(web, WebOptions(lock_timeout=0.1, lock_patience=60), scenario)
    assert {web.profiles.get(name)["likes_count"] for name in locked} == {4}
    assert {web.profiles.get(name)["likes_count"] for name in free} == {3}


def test_a_row_that_stays_locked_is_given_up_and_works_when_it_is_free(
    web: Web, blocker: psycopg.Connection
) -> None:
    lock(blocker, web, ["stuck"])

    async def scenario(writers: Writers) -> None:
        for _ in range(2):
            with pytest.raises(LockTimeoutError):
                await writers.increment("stuck", "likes")
        blocker.rollback()
        assert await writers.increment("stuck", "likes")

    write(web, WebOptions(lock_timeout=0.05, lock_patience=0.1), scenario)
    assert web.profiles.get("stuck")["likes_count"] == 2


def test_a_locked_table_is_told_to_each_and_passes(web: Web, blocker: psycopg.Connection) -> None:
    names = [f"table{n}" for n in range(30)]
    blocker.execute("LOCK TABLE profile IN SHARE MODE")

    async def scenario(writers: Writers) -> None:
        written = [writers.increment(name, "likes") for name in names]
        answers = await asyncio.gather(*written, return_exceptions=True)
        assert {type(answer) for answer in answers} == {LockTimeoutError}
        blocker.rollback()
        assert all(await asyncio.gather(*(writers.increment(name, "likes") for name in names)))

    write(web, WebOptions(lock_timeout=0.05, lock_patience=0.1), scenario)


def test_the_app_answers_503_for_a_locked_row_and_goes_on(
    web: Web, blocker: psycopg.Connection
) -> None:
    lock(blocker, web, ["taken1", "taken2"])
    options = WebOptions(lock_timeout=0.05, lock_patience=0.1)
    with ProfileApp(web.database_url, web.redis_url, options=options) as app:
        for name in ("taken1", "taken2"):
            answer = ask(app.port, "PUT", f"/v1/profile/{name}?action=inc_likes")
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.json == {"error": LockTimeoutError.public}
        assert update(app.port, "not taken")


def test_a_name_that_the_encoding_cannot_write_fails_alone(stack: Stack, web: Web) -> None:
    """All three are in one transaction first."""
    options = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    with new_database(stack, "latin", options) as url:
        install(url)

        async def scenario(writers: Writers) -> list[object]:
            written = [writers.increment(name, "likes") for name in ("é", "→", "ada")]
            return await asyncio.gather(*written, return_exceptions=True)

        answers = write(replace(web, database_url=url), WebOptions(), scenario)
    assert [type(answer) for answer in answers] == [int, RefusedError, int]
