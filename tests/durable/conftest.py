"""What the tests of the durable pipeline share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from durable.servers import PostgresServer
from reactive_demo import Cache, ChangeTableFeed, Listener, Stack, install
from reactive_demo.tutorial.fault_proxy import FaultProxy
from tools.databases import new_database

Listen = Callable[..., Listener]


@pytest.fixture(scope="session")
def one_database(stack: Stack) -> Iterator[str]:
    """A database for all tests: making one for each would take longer than the tests."""
    with new_database(stack, "durable") as url:
        yield url


@pytest.fixture
def database_url(one_database: str) -> Iterator[str]:
    """That database, empty."""
    yield one_database
    with psycopg.connect(one_database, autocommit=True) as connection:
        connection.execute(EMPTY)


EMPTY = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    SET client_min_messages = warning;
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT nspname FROM pg_namespace
                    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
            EXECUTE format('DROP SCHEMA %I CASCADE', name);
        END LOOP;
    END $$;
    CREATE SCHEMA public;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
"""


@pytest.fixture
def database(database_url: str) -> str:
    """A database with capture on the table `profile`."""
    install(database_url)
    return database_url


@pytest.fixture
def own_postgres(folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that nobody else uses, with capture on `profile`."""
    server = PostgresServer(folder)
    server.start()
    install(server.url)
    yield server
    server.stop()


@pytest.fixture
def wire(database: str) -> Iterator[FaultProxy]:
    """A TCP address of the embedded PostgreSQL."""
    with FaultProxy.to_postgres(database, tcp=True) as relay:
        yield relay


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Start listeners that end with the test: `listen(database_url, cache)`."""
    started: list[Listener] = []

    def listen(
        database_url: str,
        cache: Cache,
        table: str = "profile",
        *,
        takeover: bool = False,
        state: str = "live",
    ) -> Listener:
        listener = Listener(ChangeTableFeed(database_url, table), cache, takeover=takeover)
        started.append(listener)
        listener.start().wait_until(state)
        return listener

    yield listen
    for listener in started:
        listener.stop()
