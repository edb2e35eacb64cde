"""What must hold in the end: the cache equals the table. And what changes the table until then."""

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Self

import psycopg
import redis

from reactive_demo import Cache, ChangeTableFeed, Profiles
from reactive_demo.changes import State
from reactive_demo.feeds import Feed
from reactive_demo.listener.leadership import Leadership
from reactive_demo.waiting import StopEvent
from tools.waiting import until

QUIET = 5.0
"""Seconds without progress after which database and cache must agree."""


def stored(database_url: str, table: str = "profile", key: str = "username") -> dict[str, Any]:
    """The table's rows by key; `key` is an SQL expression."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return dict(
            connection.execute(f"SELECT {key}, row_to_json(t.*) FROM {table} t".encode()).fetchall()
        )


def cached(cache: Cache) -> dict[str, Any]:
    """The cached rows by key, without tombstones."""
    keys = list(cache.scan())
    with cache._redis.pipeline(transaction=False) as batch:
        for key in keys:
            batch.hget(cache.redis_key(key), "row")
        rows = batch.execute(raise_on_error=False)
    # What is no hash holds no row, and so differs from the table until the listener has seen to it.
    found = {key: row for key, row in zip(keys, rows, strict=True) if row is not None}
    return {key: json.loads(row) if isinstance(row, str) else row for key, row in found.items()}


def agree(
    database_url: str, cache: Cache, key: str = "username", *, timeout: float = QUIET
) -> None:
    """Every key in the cache equals its row, and every deleted key is absent; soon.

    While fewer and fewer differ, it may take longer than `timeout`.
    """
    truth = stored(database_url, cache.table, key)
    fewest, deadline = len(truth) + 1, time.monotonic() + timeout
    wrong = set(truth)
    while True:
        with suppress(redis.ConnectionError):  # a node may be lost while a reader looks
            held = cached(cache)
            wrong = {k for k in truth.keys() | held.keys() if truth.get(k) != held.get(k)}
            if not wrong:
                return
            if len(wrong) < fewest:
                fewest, deadline = len(wrong), time.monotonic() + timeout
        if time.monotonic() > deadline:
            shown = {k[:80]: (truth.get(k), held.get(k)) for k in sorted(wrong)[:3]}
            raise AssertionError(f"{len(wrong)} keys differ, (stored, cached): {shown}")
        time.sleep(0.01)


def cache_follows(profiles: Profiles, cache: Cache, username: str) -> None:
    """The cached row equals the one that the database holds now; soon."""
    row = profiles.get(username)
    until(f"the cache holds {row}", lambda: cache.get(username) == row)


def carry(source: str | Feed, cache: Cache) -> int:
    """Bring the cache up to date, in this thread; how many batches that took.

    `source` is the database of the cache's table, or a feed.
    """
    feed = ChangeTableFeed(source, cache.table) if isinstance(source, str) else source
    written = 0
    with feed.open() as session:
        lease = Leadership(feed, cache, takeover=False).acquire_lease(session)
        for batch in session.batches(lease.cursor, StopEvent()):
            if not batch.is_empty:
                cache.write(batch, lease)
                lease = replace(lease, sequence=lease.sequence + 1)
            if batch.state is State.LIVE and not batch.changes and batch.evict_below is None:
                break  # there is no more; it may be a sign of life, if it took so long
            written += 1
    return written


class Witness:
    """One who looks at every cached row for as long as the block lasts: none may ever go back."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._seen: dict[str, tuple[int, int]] = {}
        self.went_back: list[tuple[str, tuple[int, int], tuple[int, int]]] = []
        self.looks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        self._over.set()
        self._thread.join(20)
        assert self.looks or kind
        assert self.went_back == [] or kind

    def _run(self) -> None:
        while not self._over.wait(0.02):
            keys = list(self._cache.scan())
            with self._cache._redis.pipeline(transaction=False) as batch:
                for key in keys:
                    batch.hmget(self._cache.redis_key(key), "epoch", "version")
                for key, (epoch, version) in zip(keys, batch.execute(), strict=True):
                    if epoch is not None and version is not None:
                        self._note(key, (int(epoch), int(version)))
            self.looks += 1

    def _note(self, key: str, now: tuple[int, int]) -> None:
        before = self._seen.setdefault(key, now)
        if now < before:
            self.went_back.append((key, before, now))
        self._seen[key] = now


def _connect(database_url: str) -> "psycopg.Connection[Any]":
    return psycopg.connect(database_url, autocommit=True)


class Traffic:
    """A writer that inserts, changes, renames and deletes for as long as the block lasts."""

    def __init__(
        self,
        database_url: str,
        seed: int = 0,
        connect: Callable[[str], psycopg.Connection[Any]] = _connect,
    ) -> None:
        self._connect = partial(connect, database_url)
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.committed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.flow()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def flow(self, count: int = 50, timeout: float = 20) -> None:
        """Wait until some more is written."""
        goal = self.committed + count
        until("writes commit", lambda: self.committed >= goal, timeout)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with self._connect() as connection:
                    while not self._over.is_set():
                        self._write(connection)
                        self.committed += 1
            except psycopg.OperationalError:
                self._over.wait(0.01)  # the server is away

    def _write(self, connection: psycopg.Connection[Any]) -> None:
        name, other = (f"user {self._random.randrange(200)}" for _ in range(2))
        statement = self._random.choice(STATEMENTS)
        with suppress(psycopg.errors.UniqueViolation):
            connection.execute(statement.encode(), {"name": name, "other": other})


STATEMENTS = (
    *["SELECT reactive.increment(%(name)s, 'likes')"] * 4,
    "DELETE FROM public.profile WHERE username = %(name)s",
    "UPDATE public.profile SET username = %(other)s WHERE username = %(name)s",
)
