"""The cache: what Redis holds, and how it is written.

A row is the hash `profile:<username>` with the fields `row` (JSON text) and, from a feed that
knows it, `version` (`epoch:version`, decimal text). A deleted row leaves a tombstone for a while:
the hash without `row`. Each write is published on a channel of the same name, as
`{"version": ..., "row": {...} or null, "db": ...}`: `db` is the number of the Redis database, which
channels do not tell apart. Any Redis client can read both. The cache never touches PostgreSQL.

What must not be torn apart is done by one script (see `lua/`): a write and its publication, the
data and the cursor that says how far a feed was read.
"""

import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import redis
from redis.connection import parse_url
from redis.exceptions import NoPermissionError

from reactive_demo.changes import Batch, Change, Lease, Versioned, into_batches
from reactive_demo.errors import FencedError
from reactive_demo.exact_json import dump_row, parse_row
from reactive_demo.redis_cache.client import evictions, open_redis, script, send
from reactive_demo.redis_cache.keys import feed_key, row_key, stamp
from reactive_demo.redis_cache.leaders import Leaders, check_granted
from reactive_demo.redis_cache.quarantine_records import QuarantineRecords
from reactive_demo.redis_cache.rights import LEADER, WRITER, MissingRights, missing_rights
from reactive_demo.redis_cache.watcher import Subscription, Watcher

__all__ = ["Cache"]

SCAN_COUNT = 500
"""Keys examined in one command."""

GONE_AFTER = 6
"""Seconds since its last write after which another database's leader is taken to be gone: three
heartbeats, by default."""

Row = dict[str, Any]


class Cache:
    """The rows of one table, by key. Safe to use from any thread.

    A tombstone lives `tombstone_life` seconds: longer than any late message is under way.
    Subscriptions make up for lost messages within `poll_interval` seconds. The methods raise
    redis.RedisError when Redis does not answer within 5 s.
    """

    def __init__(
        self,
        redis_url: str,
        table: str = "profile",
        *,
        tombstone_life: float = 600.0,
        poll_interval: float = 5.0,
    ) -> None:
        self.redis_url = redis_url
        self.table = table
        self.tombstone_life = tombstone_life
        self.unannounced = 0
        """Changes that were written and not published: the account has no right to the channel."""
        self._feed = feed_key(table)
        self._redis = open_redis(redis_url)
        self.leaders = Leaders(self._redis, table)
        """What Redis knows of the listeners: the newest term, and when a leader last wrote."""
        self.quarantine_records = QuarantineRecords(self._redis, table)
        """Which rows could not be written, and why."""
        self._acquire_lease = script(self._redis, "acquire_lease.lua")
        self._apply = script(self._redis, "row.lua", "apply.lua")
        self._evict = script(self._redis, "row.lua", "evict.lua")
        self._watcher = Watcher(redis_url, self._read_rows, poll_interval=poll_interval)

    @property
    def name(self) -> str:
        """The cache's address and database, without user and password."""
        place: dict[str, Any] = dict(parse_url(self.redis_url))
        address = place.get("path") or f"{place.get('host', 'localhost')}:{place.get('port', 6379)}"
        return f"{address}/{self.db}"

    @property
    def db(self) -> int:
        """The number of the Redis database."""
        return int(self._redis.get_connection_kwargs().get("db") or 0)

    def redis_key(self, key: str) -> str:
        """Return the Redis key, and channel, of a row."""
        return row_key(self.table, key)

    # Reading

    def get(self, key: str) -> Row | None:
        """Return the cached row, its columns at top level, or None."""
        row = self._redis.hget(self.redis_key(key), "row")
        return None if row is None else parse_row(str(row))

    def get_many(self, keys: Iterable[str]) -> dict[str, Row | None]:
        """Return the cached rows of `keys`, in one round trip; None for what holds no row."""
        keys = list(keys)
        texts = self._read_rows([self.redis_key(key) for key in keys])
        return {
            key: None if text is None else parse_row(text)
            for key, text in zip(keys, texts, strict=True)
        }

    def scan(self) -> Iterator[str]:
        """Yield the keys of the cached rows, tombstones among them, in no order."""
        prefix = self.redis_key("")
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
        for name in self._redis.scan_iter(match=pattern, count=SCAN_COUNT):
            yield str(name).removeprefix(prefix)

    def wait_for(self, key: str, version: int | None, timeout: float = 5) -> None:
        """Wait until the cache holds `version` of the row, or a later one; None waits for nothing.

        This is how to read your own writes: `Profiles.increment` returns the version. Raises
        TimeoutError after `timeout` seconds.
        """
        deadline, pause = time.monotonic() + timeout, 0.001
        while version is not None and not self._holds(key, version):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"The cache does not have version {version} of {key} after {timeout:g} s: does "
                    "a listener with a ChangeTableFeed run?"
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def subscribe(self, key: str, callback: Callable[[Row | None], None]) -> Subscription:
        """Call `callback(row)` with the row as it is now, and whenever it changes.

        The calls come from the cache's one watching thread: return fast. A message that Redis lost
        is made up for by the next poll. Ends with `close()` of the subscription.
        """
        return self._watcher.subscribe(self.redis_key(key), callback)

    # Writing

    def put(self, changes: Iterable[Change]) -> None:
        """Write and publish `changes`, all at once, whatever the cache holds."""
        changes = list(changes)
        try:
            self._put(changes, announced=True)
        except NoPermissionError:  # perhaps to publish only
            self._put(changes, announced=False)
            self.unannounced += len(changes)

    def _put(self, changes: Iterable[Change], *, announced: bool) -> None:
        with self._redis.pipeline(transaction=True) as batch:
            for change in changes:
                name, row = self.redis_key(change.key), dump_row(change.row)
                batch.delete(name)
                if change.row is not None:
                    batch.hset(name, "row", row)
                if announced:
                    batch.publish(name, f'{{"version":null,"row":{row},"db":{self.db}}}')
            batch.execute()

    def acquire_lease(
        self, incarnation: str, *, new_epoch: bool = False, whatever_database: bool = False
    ) -> Lease:
        """Become the leader: the batches of the one before are refused from now on.

        Another `incarnation` of the database than the last begins a new epoch, as `new_epoch`
        does: then there is no cursor, and the cache must be filled. Raises RefusedError, unless
        `whatever_database` is asked for, if another database writes the same keys, or if the cache
        has followed the database to a later timeline.
        """
        token = uuid.uuid4().hex
        arguments: list[str | int] = [
            f"{token}:0",
            incarnation,
            int(new_epoch),
            int(whatever_database),
            GONE_AFTER,
        ]
        reply: Any = self._acquire_lease(keys=[self._feed], args=arguments)
        epoch, cursor = reply
        check_granted(epoch, cursor, self.redis_key(""), incarnation)
        return Lease(token, epoch, cursor)

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
        if batch.evict_below is not None:
            held = f"{lease.token}:{lease.sequence}"
            self._evict_below(held, lease.epoch, batch.evict_below)
        keys, arguments = self._to_apply(batch, lease, partial=partial)
        return self._unless_fenced(self._apply(keys=keys, args=arguments))

    def begin_write(self, batch: Batch, lease: Lease) -> Callable[[], int]:
        """Send a batch that `may_overlap`; return what waits for the reply, and does as `write`.

        It raises NoScriptError before the first `write` to a server.
        """
        reply = send(self._redis, self._apply, *self._to_apply(batch, lease))
        return lambda: self._unless_fenced(reply())

    def _to_apply(
        self, batch: Batch, lease: Lease, *, partial: bool = False
    ) -> tuple[list[str], list[str | int]]:
        held = f"{lease.token}:{lease.sequence}"
        next_held = held if partial else f"{lease.token}:{lease.sequence + 1}"
        keys = [self._feed]
        life = str(round(1000 * self.tombstone_life))
        arguments: list[str | int] = [held, next_held, lease.epoch, life, batch.cursor or ""]
        prefix = self.redis_key("")
        for key, row, version in cast("Sequence[Versioned]", batch.changes):
            keys.append(prefix + key)
            arguments += (version, row or "")
        return keys, [*arguments, self.db]

    def forget_cursor(self) -> None:
        """Have the leader fill the cache again: its next batch is refused, and it looks again."""
        self._redis.hdel(self._feed, "cursor", "fence")

    def has_cursor(self) -> bool:
        """Return whether the cache was filled, and says how far its feed was read."""
        return bool(self._redis.hexists(self._feed, "cursor"))

    def missing_rights(self, *, versioned: bool = True) -> MissingRights:
        """Return what the Redis account may not do, of what a listener does."""
        return missing_rights(self._redis, self.table, LEADER if versioned else WRITER)

    def evictions(self) -> tuple[int, int]:
        """Return at how many bytes Redis evicts any key, and how many it has evicted so far."""
        return evictions(self._redis)

    def close(self) -> None:
        """Close the connections; subscriptions go on."""
        self._redis.close()

    def __repr__(self) -> str:
        return f"Cache({self.table})"

    def _read_rows(self, names: Sequence[str]) -> list[str | None]:
        """Return the JSON text of each Redis key; None for what is no hash, or holds no row."""
        with self._redis.pipeline(transaction=False) as batch:
            for name in names:
                batch.hget(name, "row")
            rows = batch.execute(raise_on_error=False) if names else []
        for row in rows:
            if isinstance(row, redis.RedisError) and not str(row).startswith("WRONGTYPE"):
                raise row
        return [row if isinstance(row, str) else None for row in rows]

    def _holds(self, key: str, version: int) -> bool:
        """Return whether the cache holds `version` or a later one, of the newest epoch."""
        held = stamp(cast("str | None", self._redis.hget(self.redis_key(key), "version")))
        if held is None or int(held.version) < version:
            return False
        epoch = cast("str | None", self._redis.hget(self._feed, "epoch"))
        return int(held.epoch) >= int(epoch or 0)

    def _evict_below(self, held: str, epoch: str, version: str) -> None:
        """Remove the rows of older epochs, and of this one those older than `version`."""
        for some in into_batches(self.scan(), SCAN_COUNT):
            names = [self._feed, *map(self.redis_key, some)]
            self._unless_fenced(self._evict(keys=names, args=[held, epoch, version, self.db]))

    def _unless_fenced(self, reply: Any) -> int:
        """Return a script's count, unless it refused the lease."""
        if reply == -1:
            raise FencedError("another listener leads now, or Redis lost what was written")
        count, unheard = reply
        self.unannounced += unheard
        return int(count)
