"""Read-through: a row that the cache misses is read from the database, and stored.

    rows = ReadThrough(database_url, cache)
    rows.get("ada")

For a cache that was just emptied, is being filled, or evicts rows because it is smaller than the
table. The listener writes the same keys at the same time: so a row is stored under the guard of
`lua/load.lua`, and what is newer, or deleted since, stays as it is.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, Self

import psycopg
import redis
from psycopg import sql

from reactive_demo.app.pool import Pool
from reactive_demo.errors import NotCapturedError
from reactive_demo.exact_json import parse_row
from reactive_demo.feeds.installed import LOG, describe_installed
from reactive_demo.feeds.settled import Settling
from reactive_demo.feeds.statements import VERSION_OF_KEY, Statements
from reactive_demo.feeds.table import SCHEMA_CHANGED, SETTING_VALUES, can_be
from reactive_demo.keys import Key, key_text
from reactive_demo.log_versions import version_at
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.loads import Loads
from reactive_demo.redis_cache.store import open_store

__all__ = ["ReadThrough"]

LOAD_TIMEOUT = 1.0
"""Seconds that a load may take; then another caller tries, and the first may not store."""

WAIT_TIMEOUT = 2.0
"""Seconds; longer than a load may take, so that a loader that died is replaced first."""

SETTINGS_OF_A_READ = {
    "search_path": "pg_catalog, pg_temp",
    **SETTING_VALUES,
    "quote_all_identifiers": "off",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": f"{2 * LOAD_TIMEOUT:g}s",
}
"""For one transaction only: behind a pooler, the session is not ours.

A loader that is frozen may store nothing any more, and must not hold up a TRUNCATE."""

VERSION_OF_READ = sql.SQL("%(version)s::pg_catalog.text")
"""In the log, a key has no version that could be looked up: the read as a whole has one."""

SETTINGS_BY_COLUMN = [list(SETTINGS_OF_A_READ), list(SETTINGS_OF_A_READ.values())]
SET_FOR_ONE_TRANSACTION = """
    SELECT pg_catalog.count(pg_catalog.set_config(s.name, s.value, true))
    FROM ROWS FROM (
        pg_catalog.unnest(%s::pg_catalog.text[]), pg_catalog.unnest(%s::pg_catalog.text[])
    ) AS s (name, value)
"""

Store = Callable[[str, str | None, str], object]
"""Called with incarnation, row and version."""


class ReadThrough:
    """The rows of a captured table, from the cache, or else from the database.

    Safe to use from any thread. Of all callers that miss a key at the same time, in all processes,
    one reads it from the database. A caller that has waited `wait_timeout` seconds for another's
    read reads it too, and stores nothing. That there is no such row is remembered too, for
    `absent_life` seconds or until one is inserted. Where no listener has filled the cache yet, rows
    are read and not stored: nothing would keep them up to date.
    """

    def __init__(
        self,
        database_url: str,
        cache: Cache,
        table: str | None = None,
        *,
        absent_life: float = 5.0,
        wait_timeout: float = WAIT_TIMEOUT,
    ) -> None:
        self.database_url = database_url
        self.cache = cache
        self.table = table or cache.table
        self.absent_life = absent_life
        self.wait_timeout = wait_timeout
        self._load_ms = round(1000 * min(LOAD_TIMEOUT, cache.tombstone_life / 2))
        self._pool = Pool(lambda: Reader(database_url, self.table))

    @cached_property
    def _loads(self) -> Loads:
        """What the cache lets this reader do; it connects."""
        cache = self.cache
        return Loads(open_store(cache.redis_url, cache.table, cache.tombstone_life))

    def get(self, key: Key) -> dict[str, Any] | None:
        """Return the row, its columns at top level, or None if there is none.

        Raises NotCapturedError; redis.RedisError; psycopg.OperationalError when PostgreSQL does not
        answer within 5 s, psycopg.DataError for a row that it cannot show.
        """
        name, token = key_text(key), uuid.uuid4().hex
        deadline, pause = time.monotonic() + self.wait_timeout, 0.001
        while True:
            answer, value = self._loads.begin(name, token, self._load_ms)
            if answer == "held":
                return _row(value)
            if answer == "load":
                return _row(self._load_row(name, token, value))
            if answer == "alone" or time.monotonic() > deadline:
                return _row(self._read(name, lambda *_: None))
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def refresh(self, key: Key) -> None:
        """Store the row as the database has it now, unless the cache has a newer one."""
        name, token = key_text(key), uuid.uuid4().hex
        epoch = self._loads.begin_anew(name, token, self._load_ms)
        if epoch is not None:
            self._load_row(name, token, epoch)

    def close(self) -> None:
        """Close the connections; a call after that makes new ones."""
        self._pool.close()
        if "_loads" in self.__dict__:
            self._loads.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ReadThrough({self.table})"

    def _load_row(self, key: str, token: str, epoch: str) -> str | None:
        """Read the row and store it; let go of the load's lock, whatever happens."""

        def store(incarnation: str, row: str | None, version: str) -> None:
            life = str(round(1000 * self.absent_life))
            self._loads.store(key, [token, epoch, incarnation, life, version, row or ""])

        try:
            return self._read(key, store)
        except BaseException:
            with suppress(redis.RedisError):
                store("", None, "")
            raise

    def _read(self, key: str, store: Store) -> str | None:
        """Read the row by a connection that was kept or, if that is stale, by a new one."""
        while True:
            with self._pool.lend() as reader:
                was_kept = reader.was_used
                try:
                    return reader.read(key, store)
                except (psycopg.Error, NotCapturedError):
                    if reader.usable or not was_kept:
                        raise


class Reader:
    """A connection that reads single rows of a table with their versions."""

    def __init__(self, database_url: str, table: str) -> None:
        # Not from a standby: it may lag by more than a tombstone's life.
        self._connection = open_postgres(
            database_url, f"read {table}", pinned=False, prepare_threshold=None
        )
        self._connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        self.was_used = False
        self._is_stale = False
        try:
            own = self._connection.execute("SELECT pg_catalog.current_setting('search_path')")
            self._connection.own_search_path = str(own.fetchall()[0][0])
            with self._transaction():
                kind, self._table = describe_installed(self._connection, table)
            self._settling = Settling(self._connection, self._table.name) if kind == LOG else None
            incarnation = "incarnation" if kind != LOG else "log_incarnation"
            version = VERSION_OF_KEY if kind != LOG else VERSION_OF_READ
            self._statements = Statements(
                self._table, self._connection, incarnation=incarnation, version=version
            )
        except BaseException:
            self._connection.close()
            raise

    @property
    def usable(self) -> bool:
        """Whether it may be used again; if not, a new one may succeed where it failed."""
        return not self._is_stale and self._connection.usable

    def read(self, key: str, store: Store) -> str | None:
        """Return the row as JSON text, or None; call `store` before the transaction ends.

        So TRUNCATE, which leaves no tombstones, comes after the row is stored, and takes it away.
        """
        self.was_used = True
        try:
            with self._transaction():
                read_at = self._version_of_read()
                found = self._statements.one("read_one", key=key, version=read_at)
                incarnation, row, version = found
                store(incarnation, row, version)
                return None if row is None else str(row)
        except (psycopg.DataError, psycopg.IntegrityError, UnicodeEncodeError):
            with self._transaction():
                known = can_be(self._connection, self._table, key)
            if known:
                raise
            store("", None, "")
            return None
        except NotCapturedError:
            self._is_stale = True
            raise
        except SCHEMA_CHANGED as error:
            self._is_stale = True
            raise NotCapturedError(f"The table was made anew ({error}).") from error

    def _version_of_read(self) -> str:
        """Return the version of what is read next, by a snapshot taken then.

        It is greater than that of each change that the read will see, and smaller than that of any
        other: `feeds/settled.py` has the proof. '' while a writer takes long: then nothing is
        stored. A change table needs none.
        """
        end = None if self._settling is None else self._settling.end()
        return "" if end is None else version_at(end, 0)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Set what a read relies on, for one transaction."""
        with self._connection.transaction():
            self._connection.execute(SET_FOR_ONE_TRANSACTION, SETTINGS_BY_COLUMN)
            yield

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _row(text: str | None) -> dict[str, Any] | None:
    return None if text is None else parse_row(text)
