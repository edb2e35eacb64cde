"""Databases on the embedded server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from reactive_demo import Stack


@contextmanager
def new_database(stack: Stack, name: str) -> Iterator[str]:
    """An empty database for as long as the block lasts; nobody is in it after that."""
    database = Identifier(name)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(database))
        yield stack.database_url.replace("/reactive_demo?", f"/{name}?")
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def unheard(connection: "psycopg.Connection[Any]") -> int:
    """How many backends wait until somebody reads what they say."""
    return connection.execute(
        "SELECT FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"
    ).rowcount
