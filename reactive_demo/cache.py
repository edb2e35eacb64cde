"""The cache: what Redis holds, how it is written, and how to be told when it changes.

A row is the hash `profile:<username>` with the fields `row` (JSON text) and, from a feed that
knows them, `version` and `epoch` (decimal text). A deleted row leaves a tombstone for a while: the
hash without `row`. Each write is published on a channel of the same name, as
`{"version": ..., "row": {...} or null}`. Any Redis client can read both. The cache never touches
PostgreSQL.

What must not be torn apart is done by one script (see `lua/`): a write and its publication, the
data and the cursor that says how far a feed was read.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from redis.connection import parse_url

from reactive_demo.changes import Batch, Change, Position, Versioned
from reactive_demo.keys import aside_key, feed_key, row_key
from reactive_demo.portions import portions
from reactive_demo.redis_client import open_redis, script
from reactive_demo.watcher import Subscription, Watcher

__all__ = ["Cache", "Deposed"]


SWEEP = 500
"""Keys looked at in one command when old ones are removed."""

MOST_ASIDE = 1_000
"""Keys of which word is left why they could not be written."""


class Deposed(Exception):
    """The fence of the leader who wants to write is not, or not any more, the cache's."""


class Cache:
    """The rows of one table, by key. Safe to use from any thread.

    A tombstone lives `tombstone_ms` milliseconds: longer than any late message is under way. The
    methods raise redis.RedisError when Redis does not answer within 5 s.
    """

    def __init__(
        self, redis_url: str, table: str = "profile", *, tombstone_ms: int = 600_000
    ) -> None:
        self.redis_url = redis_url
        self.table = table
        self.tombstone_ms = tombstone_ms
        self._feed = feed_key(table)
        self._redis = open_redis(redis_url)
        self._claim = script(self._redis, "claim.lua")
        self._take_over = script(self._redis, "take_over.lua")
        self._apply = script(self._redis, "row.lua", "apply.lua")
        self._sweep = script(self._redis, "row.lua", "sweep.lua")

    @property
    def name(self) -> str:
        """Which cache this is: address and database, without user and password."""
        place: dict[str, Any] = dict(parse_url(self.redis_url))
        address = place.get("path") or f"{place.get('host', 'localhost')}:{place.get('port', 6379)}"
        return f"{address}/{place.get('db', 0)}"

    def redis_key(self, key: str) -> str:
        """The Redis key, and channel, of a row."""
        return row_key(self.table, key)

    def get(self, key: str) -> dict[str, Any] | None:
        """The cached row, its columns at top level, or None."""
        row = self._redis.hget(self.redis_key(key), "row")
        return None if row is None else dict(json.loads(str(row)))

    def put(self, changes: Iterable[Change]) -> None:
        """Write and publish `changes`, all at once, whatever the cache holds."""
        with self._redis.pipeline(transaction=True) as batch:
            for change in changes:
                name = self.redis_key(change.key)
                batch.delete(name)
                if change.row is not None:
                    batch.hset(name, "row", json.dumps(change.row))
                batch.publish(name, json.dumps({"version": None, "row": change.row}))
            batch.execute()

    def take_over(self, incarnation: str, *, anew: bool = False) -> Position:
        """Become the leader who writes: the batches of the one before are refused from now on.

        Another incarnation of the database than the last begins a new epoch, as `anew` does: then
        there is no cursor, and the cache must be filled.
        """
        fence = uuid.uuid4().hex
        reply: Any = self._take_over(keys=[self._feed], args=[f"{fence}:0", incarnation, int(anew)])
        epoch, cursor = reply
        return Position(fence, epoch, cursor)

    def write(self, batch: Batch) -> int:
        """Write what `batch` brings; how many rows were newer than what the cache held.

        Raises Deposed if another leads now, or Redis lost what was written before.
        """
        if batch.position is None:
            changes = cast("Sequence[Change]", batch.changes)
            if changes:
                self.put(changes)
            return len(changes)
        fence, epoch = batch.position.fence, batch.position.epoch
        stands = f"{fence}:{batch.number - 1}"
        follows = stands if batch.partial else f"{fence}:{batch.number}"
        if batch.below is not None:
            self._sweep_all(stands, epoch, batch.below)
        keys = [self._feed]
        arguments = [stands, follows, epoch, str(self.tombstone_ms), batch.cursor or ""]
        for key, row, version in cast("Sequence[Versioned]", batch.changes):
            keys.append(f"{self.table}:{key}")
            arguments += (version, row or "")
        return _led(self._apply(keys=keys, args=arguments))

    def wait_for(self, key: str, version: int | None, timeout: float = 5) -> None:
        """Wait until the cache holds `version` of the row, or a later one; None waits for nothing.

        This is how one reads one's own writes: `Profiles.increment` tells the version. Raises
        TimeoutError after `timeout` seconds.
        """
        deadline, pause = time.monotonic() + timeout, 0.001
        while version is not None and int(self._held_version(key)) < version:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"The cache does not have version {version} of {key} after {timeout:g} s: does "
                    "a listener with a ChangeTableFeed run?"
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def claim(self, kind: str) -> int:
        """Be the newest listener with a feed of that kind; its number.

        It is greater than all before it, also when Redis was emptied meanwhile.
        """
        return int(self._claim(keys=[self._feed], args=[f"newest {kind}"]))

    def newest(self, kind: str) -> int:
        """The number of the newest; 0 if there is none, or Redis was emptied."""
        return int(cast("str", self._redis.hget(self._feed, f"newest {kind}")) or 0)

    def forget_cursor(self) -> None:
        """Have the leader fill the cache again: its next batch is refused, and it looks again."""
        self._redis.hdel(self._feed, "cursor", "fence")

    def has_cursor(self) -> bool:
        """Whether the cache was filled, and says how far its feed was read."""
        return bool(self._redis.hexists(self._feed, "cursor"))

    def set_aside(self, key: str, version: str, reason: str) -> None:
        """Leave word that a version of the row could not be written, and why; kept for a day."""
        aside = aside_key(self.table)
        if self._redis.hlen(aside) < MOST_ASIDE:
            with self._redis.pipeline(transaction=False) as batch:
                batch.hset(aside, key, json.dumps([version, reason]))
                batch.expire(aside, 86_400)
                batch.execute()

    def set_aside_of(self, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Version and reason of those of `keys` of which word was left."""
        if not keys:
            return {}
        words = cast("list[str | None]", self._redis.hmget(aside_key(self.table), list(keys)))
        pairs = zip(keys, words, strict=True)
        return {key: tuple(json.loads(word)) for key, word in pairs if word}

    def scan(self) -> Iterator[str]:
        """The keys of the cached rows, tombstones among them, in no order."""
        prefix = self.redis_key("")
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
        for name in self._redis.scan_iter(match=pattern, count=SWEEP):
            yield str(name).removeprefix(prefix)

    def subscribe(
        self, key: str, callback: Callable[[dict[str, Any] | None], None]
    ) -> Subscription:
        """Call `callback(row)` with the row as it is now, and whenever it changes.

        The calls come from the one watching thread of this process: return fast. A message that
        Redis lost is made up for within 5 s. Ends with `close()` of the subscription.
        """
        return Watcher.shared(self.redis_url).subscribe(self.redis_key(key), callback)

    def close(self) -> None:
        """Close the connections; subscriptions go on."""
        self._redis.close()

    def __repr__(self) -> str:
        return f"Cache({self.table})"

    def _held_version(self, key: str) -> str:
        return str(self._redis.hget(self.redis_key(key), "version") or "-1")

    def _sweep_all(self, fence: str, epoch: str, version: str) -> None:
        """Remove the rows of older epochs, and of this one's those older than `version`."""
        for some in portions(self.scan(), SWEEP):
            names = [self._feed, *map(self.redis_key, some)]
            _led(self._sweep(keys=names, args=[fence, epoch, version]))


def _led(reply: Any) -> int:
    """A script's count, unless it refused the fence."""
    if reply == -1:
        raise Deposed("another listener leads now, or Redis lost what was written")
    return int(reply)
