"""What the tests of the whole pipeline share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reactive_demo.tutorial.fault_proxy import FaultProxy
from tools.durable import Durable
from tools.servers import PostgresServer


@pytest.fixture
def own_postgres(folder: Path, durable: Durable) -> Iterator[PostgresServer]:
    """A PostgreSQL that nobody else uses, whose table `profile` can be followed."""
    server = PostgresServer(folder)
    server.start()
    durable.install(server.url)
    yield server
    server.stop()


@pytest.fixture
def wire(database: str) -> Iterator[FaultProxy]:
    """A TCP address of the embedded PostgreSQL."""
    with FaultProxy.to_postgres(database, tcp=True) as relay:
        yield relay
