"""How each notebook begins: with the database in the chapter's state, whatever ran before."""

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from reactive_demo.app.profiles import Profiles
from reactive_demo.capture.install import (
    PROFILE,
    change_schema,
    execute_files,
    forget_slots,
    install,
    take_off,
    uninstall,
)
from reactive_demo.changes import Change, into_batches
from reactive_demo.errors import ReactiveDemoError, first_line
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.redis_cache.keys import feed_key, quarantine_key, row_key, stream_key
from reactive_demo.servers import Stack

__all__ = [
    "drop_database",
    "forget",
    "fresh_cache",
    "fresh_database",
    "install_article",
    "install_bare",
    "set_stage",
]

MARK = "reactive_demo: a chapter of the tutorial, made anew whenever it begins"
"""The comment on a database that the tutorial made; no other database is ever dropped."""

DROP_TIMEOUT = 20.0
"""Seconds."""


def set_stage(
    stack: Stack, *usernames: str, captured: bool = False, feed: str = "change table"
) -> None:
    """Install the article's trigger, and delete `usernames` from database and cache.

    With `captured`, install capture instead, for a ChangeTableFeed; or for another `feed`, "log".
    """
    if captured:
        install(stack.database_url, feed=feed)
    else:
        install_article(stack.database_url)
    with Profiles(stack.database_url) as profiles:
        for username in usernames:
            profiles.delete(username)
    cache = Cache(stack.redis_url)
    cache.put([Change(username, row=None) for username in usernames])
    cache.close()


def install_article(database_url: str) -> None:
    """Put the article's trigger on the table `profile`, in place of capture.

    Creates the table if there is none. Raises ReactiveDemoError as `install` does.
    """

    def work(connection: psycopg.Connection) -> None:
        execute_files(connection, [*PROFILE, "03_notify.sql"])
        take_off(connection, "public.profile")

    change_schema(database_url, "table profile", work)
    forget_slots(database_url, "public.profile")


def install_bare(database_url: str) -> None:
    """Create the table `profile` without a trigger, and what write-behind's consumers need.

    Keeps what is there already. Raises ReactiveDemoError as `install` does.
    """
    steps = [*PROFILE, "06_write_behind.sql"]
    change_schema(database_url, "table profile", lambda c: execute_files(c, steps))


def fresh_database(stack: Stack, name: str, *, drop_timeout: float = DROP_TIMEOUT) -> str:
    """Create the empty database `name` beside the tutorial's main one; return its conninfo.

    Drops the one that an earlier run made, terminating its connections. Raises ReactiveDemoError
    when the role may not create databases, or when a database of that name is not the tutorial's.
    """
    database = Identifier(name)
    try:
        with open_postgres(
            stack.database_url, "stage", silence_timeout=2 * DROP_TIMEOUT
        ) as connection:
            connection.execute(
                "SELECT pg_advisory_lock(hashtextextended('reactive_demo databases', 0))"
            )
            if _is_anothers(connection, name):
                raise ReactiveDemoError(
                    f"There is a database {name} already, and the tutorial did not make it: "
                    "rename it, or point DATABASE_URL to another server."
                )
            _drop(connection, name, drop_timeout)
            # template0, because CREATE DATABASE fails while somebody is connected to the template.
            connection.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(database))
            connection.execute(SQL("COMMENT ON DATABASE {} IS {}").format(database, Literal(MARK)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise ReactiveDemoError(
            f"This chapter needs a database of its own, {name}, which this role may not create "
            f"({error.diag.message_primary}): allow it (ALTER ROLE ... CREATEDB), or unset "
            "DATABASE_URL to use the embedded server."
        ) from None
    except psycopg.Error as error:
        raise ReactiveDemoError(
            f"The database {name} could not be created ({first_line(error)}): start the server of "
            "DATABASE_URL, or look into its log."
        ) from None
    return make_conninfo(stack.database_url, dbname=name)


def fresh_cache(redis_url: str, name: str) -> Cache:
    """Return the cache `name` beside the tutorial's main one, emptied."""
    forget(redis_url, name)
    return Cache(redis_url, name)


def forget(redis_url: str, name: str) -> None:
    """Remove all keys of the cache `name`: its rows, its cursor, its messages."""
    with open_redis(redis_url) as client:
        client.unlink(feed_key(name), quarantine_key(name), stream_key(name))
        for some in into_batches(client.scan_iter(match=row_key(name, "*"), count=1000), 1000):
            client.unlink(*some)


def drop_database(stack: Stack, name: str, *, timeout: float = DROP_TIMEOUT) -> None:
    """Drop the database `name` that `fresh_database` made, terminating its connections.

    Raises ReactiveDemoError when that takes longer than `timeout` seconds.
    """
    with open_postgres(stack.database_url, "stage", silence_timeout=2 * DROP_TIMEOUT) as connection:
        if not _is_anothers(connection, name):
            _drop(connection, name, timeout)


def _drop(connection: psycopg.Connection, name: str, timeout: float) -> None:
    if connection.execute(HAS_SLOTS, [name]).fetchone():  # a database with slots cannot be dropped
        password = connection.info.password or None
        uninstall(make_conninfo(connection.info.dsn, dbname=name, password=password))
    connection.execute(SQL("SET statement_timeout = {}").format(round(1000 * timeout)))
    try:
        connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
    except psycopg.errors.QueryCanceled:
        # Each backend must acknowledge the drop; one that is blocked writing to its client cannot.
        raise ReactiveDemoError(
            f"The database {name} could not be dropped in {timeout:g} s, most likely because a "
            "program said LISTEN and does not read: shut down the kernels of the other notebooks, "
            "and try again."
        ) from None
    connection.execute("RESET statement_timeout")


HAS_SLOTS = "SELECT 1 FROM pg_replication_slots WHERE database = %s LIMIT 1"


def _is_anothers(connection: psycopg.Connection, name: str) -> bool:
    """Return whether there is a database of that name without the tutorial's mark."""
    found = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
    ).fetchone()
    return found is not None and found[0] != MARK
