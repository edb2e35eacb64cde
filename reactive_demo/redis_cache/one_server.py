"""One Redis server: how the rows of a table are written there.

What must not be torn apart is done by one script (see `lua/`): a write and its publication, the
data and the cursor that says how far a feed was read. In a cluster, each node is such a server for
its part of the keys (see `cluster.py`).
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial as bound
from typing import Any, cast

import redis
from redis.exceptions import NoPermissionError

from reactive_demo.changes import Batch, Change, Lease, Versioned, into_batches
from reactive_demo.errors import FencedError
from reactive_demo.exact_json import dump_row
from reactive_demo.redis_cache.client import evictions, script, send
from reactive_demo.redis_cache.keys import feed_key, load_key, row_key, row_pattern
from reactive_demo.redis_cache.leaders import check_granted
from reactive_demo.redis_cache.rights import LEADER, WRITER, MissingRights, missing_rights

__all__ = ["OneServer"]

SCAN_COUNT = 500
"""Keys examined in one command."""

Run = Callable[[Sequence[str], Sequence[Any]], Any]
"""What is called with a script's keys and arguments."""

GONE_AFTER = 6
"""Seconds since its last write after which another database's leader is taken to be gone: three
heartbeats, by default."""


class OneServer:
    """A server that holds the rows of one table: in the database `db`, with the feed's hash."""

    def __init__(self, client: redis.Redis, table: str, tombstone_life: float, db: int = 0) -> None:
        self.client = client
        self.table = table
        self.db = db
        self.unannounced = 0
        """Changes that were written and not published."""
        self.feed = feed_key(table)
        self._prefix = row_key(table, "")
        self._life = str(round(1000 * tombstone_life))
        self._acquire_lease = script(client, "acquire_lease.lua")
        self._apply, self._send_apply = self.script("row.lua", "apply.lua")
        self._evict, _ = self.script("row.lua", "evict.lua")

    def script(self, *names: str) -> tuple[Run, Run]:
        """Return what runs a script of `lua/`, and what sends it; both take keys and arguments."""
        run = script(self.client, *names)
        return run, bound(send, self.client, run)

    def scan(self) -> Iterator[str]:
        """Yield the keys of the cached rows, tombstones among them, in no order."""
        for name in self.client.scan_iter(match=row_pattern(self.table), count=SCAN_COUNT):
            yield str(name).removeprefix(self._prefix)

    def put(self, changes: Sequence[Change]) -> None:
        """Write and publish `changes`, all at once, whatever the cache holds."""
        try:
            self._put(changes, announced=True)
        except NoPermissionError:  # perhaps to publish only
            self._put(changes, announced=False)
            self.unannounced += len(changes)

    def _put(self, changes: Iterable[Change], *, announced: bool) -> None:
        with self.client.pipeline(transaction=True) as batch:
            for change in changes:
                name, row = self._prefix + change.key, dump_row(change.row)
                batch.delete(name)
                if change.row is not None:
                    batch.hset(name, "row", row)
                if announced:
                    batch.publish(name, f'{{"version":null,"row":{row},"db":{self.db}}}')
            batch.execute()

    def acquire_lease(
        self, incarnation: str, *, new_epoch: bool = False, whatever_database: bool = False
    ) -> Lease:
        """Do what `Cache.acquire_lease` says."""
        token = uuid.uuid4().hex
        arguments: list[str | int] = [
            f"{token}:0",
            incarnation,
            int(new_epoch),
            int(whatever_database),
            GONE_AFTER,
        ]
        epoch, cursor = self._acquire_lease(keys=[self.feed], args=arguments)
        check_granted(epoch, cursor, self._prefix, incarnation)
        return Lease(token, epoch, cursor)

    def write(self, batch: Batch, lease: Lease, *, partial: bool = False) -> int:
        """Do what `Cache.write` says of a batch with a lease."""
        if batch.evict_below is not None:
            held = f"{lease.token}:{lease.sequence}"
            self._evict_below(held, lease.epoch, batch.evict_below)
        keys, arguments = self._to_apply(batch, lease, partial=partial)
        return self._unless_fenced(self._apply(keys, arguments))

    def begin_write(
        self, batch: Batch, lease: Lease, *, partial: bool = False
    ) -> Callable[[], int]:
        """Send a batch that evicts nothing; return what waits for the reply, and does as `write`.

        It raises NoScriptError before the first `write` to a server.
        """
        reply = self._send_apply(*self._to_apply(batch, lease, partial=partial))
        return lambda: self._unless_fenced(reply())

    def _to_apply(
        self, batch: Batch, lease: Lease, *, partial: bool
    ) -> tuple[list[str], list[str | int]]:
        held = f"{lease.token}:{lease.sequence}"
        next_held = held if partial else f"{lease.token}:{lease.sequence + 1}"
        keys = [self.feed]
        arguments: list[str | int] = [held, next_held, lease.epoch, self._life, batch.cursor or ""]
        for key, row, version in cast("Sequence[Versioned]", batch.changes):
            keys.append(self._prefix + key)
            arguments += (version, row or "")
        return keys, [*arguments, self.db]

    def forget_cursor(self) -> None:
        """Have the leader fill the cache again: its next batch is refused, and it looks again."""
        self.client.hdel(self.feed, "cursor", "fence")

    def has_cursor(self) -> bool:
        """Return whether the cache was filled, and says how far its feed was read."""
        return bool(self.client.hexists(self.feed, "cursor"))

    def missing_rights(self, *, versioned: bool = True) -> MissingRights:
        """Return what the Redis account may not do, of what a listener does."""
        return missing_rights(self.client, self.table, LEADER if versioned else WRITER)

    def evictions(self) -> tuple[int, int]:
        """Return at how many bytes Redis evicts any key, and how many it has evicted so far."""
        return evictions(self.client)

    def server_of(self, _key: str, *, anew: bool = False) -> "OneServer":
        """Return the server that holds a row; look `anew` where it is."""
        del anew
        return self

    def load_key(self, key: str) -> str:
        """Return the key that a reader holds while it loads a row."""
        return load_key(self.table, key)

    def bookkeeping(self) -> list[str]:
        """Return the Redis keys of the feed."""
        return [self.feed]

    def _evict_below(self, held: str, epoch: str, version: str) -> None:
        """Remove the rows of older epochs, and of this one those older than `version`."""
        for some in into_batches(self.scan(), SCAN_COUNT):
            names = [self.feed, *(self._prefix + key for key in some)]
            self._unless_fenced(self._evict(names, [held, epoch, version, self.db]))

    def _unless_fenced(self, reply: Any) -> int:
        """Return a script's count, unless it refused the lease."""
        if reply == -1:
            raise FencedError("another listener leads now, or Redis lost what was written")
        count, unheard = reply
        self.unannounced += unheard
        return int(count)
