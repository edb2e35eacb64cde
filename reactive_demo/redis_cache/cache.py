"""The cache: what Redis holds, and how it is written.

A row is the hash `profile:<username>` with the fields `row` (JSON text) and, from a feed that
knows it, `version` (`epoch:version`, decimal text). A deleted row leaves a tombstone for a while:
the hash without `row`. Each write is published on a channel of the same name, as
`{"version": ..., "row": {...} or null, "db": ...}`: `db` is the number of the Redis database, which
channels do not tell apart. Any Redis client can read both. The cache never touches PostgreSQL.

How it is written depends on what holds the keys: `one_server.py`, or `cluster.py`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar, cast

import redis

from reactive_demo.changes import Batch, Change, Lease
from reactive_demo.errors import NotCapturedError
from reactive_demo.exact_json import parse_row
from reactive_demo.keys import Key, key_text
from reactive_demo.log_versions import has_reached
from reactive_demo.redis_cache.client import database_of
from reactive_demo.redis_cache.keys import feed_key, row_key, stamp
from reactive_demo.redis_cache.leaders import Leaders
from reactive_demo.redis_cache.quarantine_records import QuarantineRecords
from reactive_demo.redis_cache.rights import MissingRights
from reactive_demo.redis_cache.store import Store, open_store, reading
from reactive_demo.redis_cache.watcher import Subscription, Watcher
from reactive_demo.urls import read_redis_url, redis_place

__all__ = ["Cache"]

Row = dict[str, Any]
KeyType = TypeVar("KeyType", bound=Key)


class Cache:
    """The rows of one table, by key. Safe to use from any thread.

    A tombstone lives `tombstone_life` seconds: longer than any late message is under way.
    Subscriptions make up for lost messages within `poll_interval` seconds. The methods raise
    redis.RedisError when Redis does not answer within 5 s. What is no URL is a ConfigurationError.
    """

    def __init__(
        self,
        redis_url: str,
        table: str = "profile",
        *,
        tombstone_life: float = 600.0,
        poll_interval: float = 5.0,
    ) -> None:
        redis_url = read_redis_url(redis_url, "The cache's URL")
        self.redis_url = redis_url
        self.table = table
        self.tombstone_life = tombstone_life
        self._feed = feed_key(table)
        self._identity = ""
        self._watcher = Watcher(redis_url, self._read_rows, poll_interval=poll_interval)

    @cached_property
    def _store(self) -> Store:
        """What holds the keys: only the server itself knows whether it is a cluster's node."""
        return open_store(self.redis_url, self.table, self.tombstone_life)

    @property
    def _redis(self) -> redis.Redis:
        return self._store.client

    @cached_property
    def leaders(self) -> Leaders:
        """What Redis knows of the listeners: the newest term, and when a leader last wrote."""
        return Leaders(self._redis, self.table)

    @cached_property
    def quarantine_records(self) -> QuarantineRecords:
        """Which rows could not be written, and why."""
        return QuarantineRecords(self._redis, self.table)

    @property
    def unannounced(self) -> int:
        """Changes that were written and not published: the account has no right to the channel."""
        return self._store.unannounced if "_store" in self.__dict__ else 0

    @property
    def name(self) -> str:
        """The cache's address and database, without user and password."""
        return f"{redis_place(self.redis_url)}/{self.db}"

    @property
    def identity(self) -> str:
        """What Redis tells of itself, and the database's number; until it does, the address."""
        with suppress(redis.RedisError):  # away, or this account may not ask
            self._identity = self.leaders.identity()
        return f"{self._identity}/{self.db}" if self._identity else self.name

    @property
    def db(self) -> int:
        """The number of the Redis database."""
        return database_of(self.redis_url)

    def redis_key(self, key: Key) -> str:
        """Return the Redis key, and channel, of a row; a key of several columns is a tuple."""
        return row_key(self.table, key_text(key))

    # Reading

    def get(self, key: Key) -> Row | None:
        """Return the cached row, its columns at top level, or None."""
        row = self._redis.hget(self.redis_key(key), "row")
        return None if row is None else parse_row(str(row))

    def get_many(self, keys: Iterable[KeyType]) -> dict[KeyType, Row | None]:
        """Return the cached rows of `keys`, in one round trip; None for what holds no row."""
        keys = list(keys)
        texts = self._read_rows([self.redis_key(key) for key in keys])
        return {
            key: None if text is None else parse_row(text)
            for key, text in zip(keys, texts, strict=True)
        }

    def scan(self) -> Iterator[str]:
        """Yield the keys of the cached rows, tombstones among them, in no order."""
        return self._store.scan()

    def wait_for(self, key: Key, version: int | None, timeout: float = 5) -> None:
        """Wait until the cache holds `version` of the row, or a later one.

        This is how to read your own writes: `Profiles.increment` and `Transaction.version` return
        the version. Raises TimeoutError after `timeout` seconds, and NotCapturedError for None.
        """
        if version is None:
            raise NotCapturedError(
                f"There is no version of {key} to wait for: its row was not changed, or its table "
                f"is not followed, and then run `reactive-demo install --table {self.table}`."
            )
        deadline, pause = time.monotonic() + timeout, 0.001
        while not has_reached(version, *self._progress(key)):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"The cache does not have version {version} of {key} after {timeout:g} s: does "
                    "a listener with a ChangeTableFeed, or a LogFeed, run?"
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def subscribe(self, key: Key, callback: Callable[[Row | None], None]) -> Subscription:
        """Call `callback(row)` with the row as it is now, and whenever it changes.

        The calls come from the cache's one watching thread: return fast. A message that Redis lost
        is made up for by the next poll. Ends with `close()` of the subscription.
        """
        return self._watcher.subscribe(self.redis_key(key), callback)

    # Writing

    def put(self, changes: Iterable[Change]) -> None:
        """Write and publish `changes`, all at once, whatever the cache holds."""
        self._store.put(list(changes))

    def acquire_lease(
        self, incarnation: str, *, new_epoch: bool = False, whatever_database: bool = False
    ) -> Lease:
        """Become the leader: the batches of the one before are refused from now on.

        Another `incarnation` of the database than the last begins a new epoch, as `new_epoch`
        does: then there is no cursor, and the cache must be filled. Raises RefusedError, unless
        `whatever_database` is asked for, if another database writes the same keys, or if the cache
        has followed the database to a later timeline.
        """
        return self._store.acquire_lease(
            incarnation, new_epoch=new_epoch, whatever_database=whatever_database
        )

    def write(self, batch: Batch, lease: Lease | None, *, partial: bool = False) -> int:
        """Write what `batch` brings; return how many rows were newer than what the cache held.

        Without a lease, rows have no versions and all are newer. `partial` says that more of the
        batch follows. Raises FencedError if another listener holds the lease now, or Redis lost
        what was written before.
        """
        if lease is None:
            changes = cast("Sequence[Change]", batch.changes)
            if changes:
                self.put(changes)
            return len(changes)
        return self._store.write(batch, lease, partial=partial)

    def begin_write(self, batch: Batch, lease: Lease) -> Callable[[], int]:
        """Send a batch that `may_overlap`; return what waits for the reply, and does as `write`."""
        return self._store.begin_write(batch, lease)

    def release(self) -> None:
        """Do nothing: the next leader's token replaces this one's."""

    def forget_cursor(self) -> None:
        """Have the leader fill the cache again: its next batch is refused, and it looks again."""
        self._store.forget_cursor()

    def has_cursor(self) -> bool:
        """Return whether the cache was filled, and says how far its feed was read."""
        return self._store.has_cursor()

    def missing_rights(self, *, versioned: bool = True) -> MissingRights:
        """Return what the Redis account may not do, of what a listener does."""
        return self._store.missing_rights(versioned=versioned)

    def evictions(self) -> tuple[int, int]:
        """Return at how many bytes Redis evicts any key, and how many it has evicted so far.

        Both are 0 if it never does, or the account may not ask.
        """
        return self._store.evictions()

    def close(self) -> None:
        """Close the connections; subscriptions go on."""
        if "_store" in self.__dict__:
            self._redis.close()

    def __repr__(self) -> str:
        return f"Cache({self.table})"

    def _read_rows(self, names: Sequence[str]) -> list[str | None]:
        """Return the JSON text of each Redis key; None for what is no hash, or holds no row."""
        with reading(self._redis) as batch:
            for name in names:
                batch.hget(name, "row")
            rows = batch.execute(raise_on_error=False) if names else []
        for row in rows:
            if isinstance(row, redis.RedisError) and not str(row).startswith("WRONGTYPE"):
                raise row
        return [row if isinstance(row, str) else None for row in rows]

    def _progress(self, key: Key) -> tuple[int, str]:
        """Return the row's version, -1 if it is of another epoch, and how far the feed was read."""
        with reading(self._redis) as batch:
            batch.hmget(self._feed, "epoch", "cursor")
            batch.hget(self.redis_key(key), "version")
            (epoch, cursor), field = batch.execute()
        held = stamp(field)
        return int(held.version) if held and held.epoch == epoch else -1, cursor or ""
