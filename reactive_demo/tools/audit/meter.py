"""Compare a table with its cache, and compare again the rows that differ."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice

import redis
from redis.exceptions import NoPermissionError

from reactive_demo.changes import Versioned, into_batches
from reactive_demo.log_versions import has_reached, version_at, version_to_await
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.client import connect_redis
from reactive_demo.redis_cache.keys import feed_key
from reactive_demo.tools.audit.held import held
from reactive_demo.tools.audit.table import Table
from reactive_demo.tools.audit.verdict import Difference, Look, Pair, Report, differs, wrong

__all__ = ["AGAIN", "LIMIT", "Sides", "audit"]

LIMIT = 100_000
"""Rows that are all compared; of a larger table, a random sample of this size is."""

AGAIN = (1.0, 5.0)
"""Seconds to wait before each further comparison of the rows that differ."""

PORTION = 500
"""Keys read at once."""

PATIENCE = 6.0
"""Seconds that a listener may take to read the log: three heartbeats, by default."""

Progress = Callable[[int, int], None]
"""Called with how many keys are compared so far, and of how many."""


class Sides:
    """A table and its cache, compared key by key."""

    def __init__(self, table: Table, cache: Cache, client: redis.Redis) -> None:
        self.table = table
        self.cache = cache
        self._client = client

    @classmethod
    @contextmanager
    def open(
        cls,
        database_url: str,
        cache: Cache,
        table: str | None = None,
        *,
        captured: bool = True,
        feed: str | None = None,
    ) -> Iterator["Sides"]:
        """Connect to both. Raises NotCapturedError, psycopg.Error or redis.RedisError."""
        with (
            open_postgres(database_url, "audit") as connection,
            connect_redis(cache.redis_url) as client,
        ):
            facts = Table(connection, table or cache.table, captured=captured, feed=feed)
            yield cls(facts, cache, client)

    def differing(self, keys: Iterable[str]) -> dict[str, Pair]:
        """Return the pairs that differ now."""
        found: dict[str, Pair] = {}
        for portion in into_batches(keys, PORTION):
            if self.table.in_log:
                found |= self._behind(portion)
                continue
            rows = held(self._client, self.cache, portion)
            stored = self.table.look_up(portion)
            found |= _differing(Pair(stored[key], rows[key]) for key in portion)
        return found

    def _behind(self, keys: Sequence[str]) -> dict[str, Pair]:
        """Return the pairs that differ although the leader has read the log so far.

        A cached row with a version beyond that is a later one.
        """
        stored = self.table.look_up(keys)
        end = self.table.log_end()
        self._await_position(end)
        rows = held(self._client, self.cache, keys)
        newest = int(version_at(end, 0))
        return _differing(
            Pair(stored[key], rows[key])
            for key in keys
            if not (rows[key].version.isdecimal() and int(rows[key].version) > newest)
        )

    def _await_position(self, end: int) -> None:
        """Wait until the cache's cursor is there, while a listener reads the log."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and any(slot.active for slot in self.table.slots()):
            cursor = str(self._client.hget(feed_key(self.cache.table), "cursor") or "")
            if has_reached(version_to_await(end, end), -1, cursor):
                return
            time.sleep(0.02)

    def stored(self, share: float) -> Iterator[list[Pair]]:
        """Yield the table's rows, or a share of them, each with its cached row."""
        for portion in into_batches(self.table.rows(share), PORTION):
            rows = held(self._client, self.cache, [one.key for one in portion])
            yield [Pair(one, rows[one.key]) for one in portion]

    def gone(self, but: set[str], limit: int) -> Iterator[list[Pair]]:
        """Yield cached rows that are not in the table, from `limit` keys that are not in `but`.

        Redis scans its keys in the order of their hashes, so the first ones are a fair sample.
        """
        keys = (key for key in self.cache.scan() if key not in but)
        for portion in into_batches(islice(keys, limit), PORTION):
            rows = held(self._client, self.cache, portion)
            stored = self.table.look_up([key for key in portion if rows[key].row is not None])
            pairs = [Pair(stored[key], rows[key]) for key in stored]
            yield [pair for pair in pairs if pair.stored.row is None and _is_row(pair.held)]

    def told(self, pairs: Iterable[Pair]) -> list[Difference]:
        """Return how the pairs differ, by key; with the reason if the row is in quarantine."""
        found: list[Difference] = []
        for portion in into_batches(pairs, PORTION):
            aside: dict[str, tuple[str, str]] = {}
            with suppress(NoPermissionError):  # the right to read rows is enough
                aside = self.cache.quarantine_records.find([pair.stored.key for pair in portion])
            for pair in portion:
                version, reason = aside.get(pair.stored.key, ("", ""))
                if difference := differs(pair):
                    known = self.table.in_log or version == pair.stored.version
                    found.append(replace(difference, reason=reason if known else ""))
        return sorted(found, key=lambda difference: difference.key)


def audit(
    database_url: str,
    cache: Cache,
    table: str | None = None,
    *,
    captured: bool = True,
    feed: str | None = None,
    limit: int = LIMIT,
    again: Sequence[float] = AGAIN,
    progress: Progress = lambda _done, _total: None,
) -> Report:
    """Compare every row of a table with its cached row; of a large table, a sample of `limit` rows.

    Rows that differ are compared `again` after some seconds: wrong is only what differs then too
    and has not changed in between. The table is the cache's unless you name another; with
    `captured=False` it need not be captured, and is compared without versions, as suits a
    NotifyFeed. `feed` is needed only if it is installed for two. Nothing is written.

    Raises NotCapturedError, psycopg.Error or redis.RedisError.
    """
    with Sides.open(database_url, cache, table, captured=captured, feed=feed) as sides:
        rows = sides.table.count()
        share = min(1.0, limit / max(rows, 1))
        seen: set[str] = set()
        found: dict[str, Pair] = {}
        for pairs in sides.stored(share):
            seen.update(pair.stored.key for pair in pairs)
            found |= _differing(pairs)
            progress(len(seen), max(len(seen), min(rows, limit)))
        drawn = len(seen) if share < 1 else None
        for pairs in sides.gone(set(seen), limit):
            seen.update(pair.stored.key for pair in pairs)
            found |= _differing(pairs)
        looks, after, before = [Look(0, len(found))], 0.0, found
        for pause in again:
            if not found:
                break
            time.sleep(pause)
            after, before = after + pause, found
            found = sides.differing(found)
            looks.append(Look(after, len(found)))
        amiss = wrong(before, found) if again else list(found)
        return Report(
            sides.table.name,
            rows,
            len(seen),
            drawn,
            looks,
            sides.told(found[key] for key in amiss),
            captured=captured,
            feed=feed,
            slots=sides.table.slots() if sides.table.in_log else (),
        )


def _differing(pairs: Iterable[Pair]) -> dict[str, Pair]:
    return {pair.stored.key: pair for pair in pairs if differs(pair)}


def _is_row(held: Versioned) -> bool:
    """Return whether this is a row; anything else under a key that the table lacks is not ours."""
    return held.row is not None and held.row.startswith("{")
