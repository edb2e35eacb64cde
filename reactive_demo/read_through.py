"""Read-through: a row that the cache misses is read from the database, and stored.

    rows = ReadThrough(database_url, cache)
    rows.get("ada")

For a cache that was just emptied, is being filled, or evicts rows because it is smaller than the
table. The listener writes the same keys at the same time: so a row is stored under the guard of
`lua/load.lua`, and what is newer, or deleted since, stays as it is.
"""

import json
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from threading import BoundedSemaphore
from typing import Any, Self

import psycopg
import redis

from reactive_demo.cache import Cache
from reactive_demo.feeds.captured import REMADE, SETTINGS, NotCapturedError, can_be, describe
from reactive_demo.feeds.statements import Statements
from reactive_demo.keys import feed_key, load_key
from reactive_demo.redis_client import open_redis, script

__all__ = ["ReadThrough"]

LOAD_MS = 1_000
"""How long a load may take; then another tries, and the first may not store any more."""

PATIENCE = 2.0
"""Seconds that who waits for a loader waits; then he reads for himself, and stores nothing."""

CONNECTIONS = 4
"""How many rows one `ReadThrough` reads at the same time."""

LIMITS = f"""
    SET statement_timeout = '5s'; SET idle_in_transaction_session_timeout = {2 * LOAD_MS}
"""
"""A loader that is frozen may store nothing any more, and should hold up no TRUNCATE."""

Store = Callable[[str, str | None, str], object]
"""Called with incarnation, row and version."""


class ReadThrough:
    """The rows of a captured table, from the cache, or else from the database.

    Safe to use from any thread. Of all who miss a key at the same time, in all processes, one reads
    it from the database. That there is no such row is remembered too, for `absent_ms` milliseconds
    or until one is inserted. Where no listener has filled the cache yet, rows are read and not
    stored: nobody would keep them up to date.
    """

    def __init__(
        self,
        database_url: str,
        cache: Cache,
        table: str | None = None,
        *,
        absent_ms: int = 5_000,
    ) -> None:
        self.database_url = database_url
        self.cache = cache
        self.table = table or cache.table
        self.absent_ms = absent_ms
        self._load_ms = min(LOAD_MS, cache.tombstone_ms // 2)
        self._places = BoundedSemaphore(CONNECTIONS)
        self._idle: list[Reader] = []
        self._redis = open_redis(cache.redis_url)
        self._begin = script(self._redis, "begin_load.lua")
        self._load = script(self._redis, "row.lua", "load.lua")

    def get(self, key: str) -> dict[str, Any] | None:
        """The row, its columns at top level, or None if there is none.

        Raises NotCapturedError; redis.RedisError; psycopg.OperationalError when PostgreSQL does not
        answer within 5 s, psycopg.DataError for a row that it cannot show.
        """
        keys = [
            feed_key(self.cache.table),
            self.cache.redis_key(key),
            load_key(self.cache.table, key),
        ]
        token = uuid.uuid4().hex
        deadline, pause = time.monotonic() + PATIENCE, 0.001
        while True:
            reply: Any = self._begin(keys=keys, args=[token, self._load_ms])
            answer, value = reply
            if answer == "held":
                return _row(value)
            if answer == "load":
                return _row(self._load_row(key, keys, token, value))
            if answer == "alone" or time.monotonic() > deadline:
                return _row(self._read(key, lambda *_: None))
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def close(self) -> None:
        """Close the connections; a call after that makes new ones."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()
        self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ReadThrough({self.table})"

    def _load_row(self, key: str, keys: list[str], token: str, epoch: str) -> str | None:
        """Read the row and store it; whoever waits goes on, whatever happens."""

        def store(incarnation: str, row: str | None, version: str) -> None:
            life = str(self.absent_ms)
            self._load(keys=keys, args=[token, epoch, incarnation, life, version, row or ""])

        try:
            return self._read(key, store)
        except BaseException:
            with suppress(redis.RedisError):
                store("", None, "")
            raise

    def _read(self, key: str, store: Store) -> str | None:
        """Read the row by a connection that was kept, or a new one."""
        with self._places:
            while True:
                kept = None
                with suppress(IndexError):
                    kept = self._idle.pop()
                reader = kept or Reader(self.database_url, self.table)
                try:
                    row = reader.read(key, store)
                except BaseException as error:
                    again = kept and reader.is_stale and not isinstance(error, redis.RedisError)
                    reader.close()
                    if not again:
                        raise
                else:
                    self._idle.append(reader)
                    return row


class Reader:
    """A connection that reads single rows of a table with their versions."""

    def __init__(self, database_url: str, table: str) -> None:
        self._connection = psycopg.connect(
            database_url,
            autocommit=True,
            connect_timeout=5,
            target_session_attrs="primary",  # a standby may lag by more than a tombstone's life
            application_name=f"reactive_demo read {table}",
        )
        try:
            self._table = describe(self._connection, table)
            for setting in (SETTINGS, LIMITS):
                self._connection.execute(setting.encode())
            self._statement = Statements(self._table).one()
            self._is_remade = False
        except BaseException:
            self._connection.close()
            raise

    @property
    def is_stale(self) -> bool:
        """Whether a new connection may succeed where this one failed."""
        return self._is_remade or self._connection.closed

    def read(self, key: str, store: Store) -> str | None:
        """The row as JSON text, or None; `store` is called before the transaction ends.

        So TRUNCATE, which leaves no tombstones, comes after the row is stored, and takes it away.
        """
        try:
            with self._connection.transaction():
                found = self._connection.execute(
                    self._statement, {**self._table.parameters, "key": key}
                ).fetchone()
                if found is None:
                    self._is_remade = True
                    raise NotCapturedError(f"Capture was taken off {self._table.name}.")
                incarnation, row, version = found
                store(incarnation, row, version)
                return None if row is None else str(row)
        except (psycopg.DataError, psycopg.IntegrityError):
            if can_be(self._connection, self._table, key):
                raise
            store("", None, "")
            return None
        except REMADE as error:
            self._is_remade = True
            raise NotCapturedError(f"The table was made anew ({error}).") from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _row(text: str | None) -> dict[str, Any] | None:
    return None if text is None else dict(json.loads(text))
