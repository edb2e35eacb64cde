"""Databases on the embedded server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from reactive_demo import Stack


@contextmanager
def new_database(stack: Stack, name: str, options: str = "") -> Iterator[str]:
    """An empty database for as long as the block lasts; nobody is in it after that.

    `options` are those of CREATE DATABASE.
    """
    database = Identifier(name)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} " + options).format(database))
        yield stack.database_url.replace("/reactive_demo?", f"/{name}?")
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def unheard(connection: "psycopg.Connection[Any]") -> int:
    """How many backends wait until somebody reads what they say."""
    return connection.execute(
        "SELECT FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"
    ).rowcount


def backends(connection: "psycopg.Connection[Any]", application: str) -> list[int]:
    """The process ids of the backends that serve an application in this database."""
    found = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name LIKE %s",
        [f"%{application}%"],
    )
    return [pid for (pid,) in found]


def terminate(connection: "psycopg.Connection[Any]", application: str) -> None:
    """End these backends, and wait until they are gone."""
    for pid in backends(connection, application):
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def retained(connection: "psycopg.Connection[Any]") -> int:
    """How many bytes of the log the slots of this database have not confirmed; 0 without one."""
    ((count,),) = connection.execute(
        "SELECT coalesce(max(pg_current_wal_flush_lsn() - confirmed_flush_lsn), 0)"
        " FROM pg_replication_slots WHERE database = current_database()"
    )
    return int(count)
