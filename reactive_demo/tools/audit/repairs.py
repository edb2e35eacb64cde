"""Repair the rows that the audit found wrong, and nothing else.

The keys of a captured table are recorded in the change table as if they had changed. So each row
travels like any other change: with a newer version than before, read and written by the leader,
under the same guard. A row whose changes are read in the log is loaded as read-through does it:
with a version that any later change beats. The article's way has no guard: the row is simply
written.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from reactive_demo.changes import Change
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.read_through import ReadThrough
from reactive_demo.tools.audit.meter import Sides
from reactive_demo.tools.audit.verdict import Pair, Report

__all__ = ["repair"]

TIMEOUT = 10.0
"""Seconds that a repaired row may take to reach the cache."""


def repair(database_url: str, cache: Cache, report: Report, *, timeout: float = TIMEOUT) -> Report:
    """Repair the rows that `report` calls wrong; return the report as it is after that.

    The leader does the work; without one, a listener runs until it is done. Rows that stay wrong
    need `resync`.

    Raises NotCapturedError, psycopg.Error, redis.RedisError, or the error that ends the listener.
    """
    keys = [difference.key for difference in report.wrong]
    with Sides.open(
        database_url, cache, report.table, captured=report.captured, feed=report.feed
    ) as sides:
        pairs = sides.differing(keys)
        foreign = [key for key, pair in pairs.items() if not pair.stored.version]
        if sides.table.in_log:
            cache.put([Change(key, None) for key in foreign])
            pairs = _load(database_url, sides, pairs, timeout)
        elif sides.table.versioned:
            _record(database_url, report.table, [key for key in pairs if key not in foreign])
            cache.put([Change(key, None) for key in foreign])  # the table can have no such key
            feed = ChangeTableFeed(database_url, report.table)
            with Listener(feed, cache) as listener:
                pairs = _await(sides, pairs, listener, timeout)
        else:
            _write(sides, pairs)
            pairs = sides.differing(pairs)
        wrong = sides.told(pairs.values())
    return replace(report, wrong=wrong, repaired=len(keys) - len(pairs))


def _load(
    database_url: str, sides: Sides, pairs: Mapping[str, Pair], timeout: float
) -> dict[str, Pair]:
    """Store each row as it is now; again while somebody writes the table for long."""
    life, deadline = sides.cache.tombstone_life, time.monotonic() + timeout
    with (
        open_postgres(database_url, "repair") as connection,
        ReadThrough(database_url, sides.cache, sides.table.name, absent_life=life) as rows,
    ):
        while True:
            # The versions come from the log's end: move it on, or they may be those that are there.
            connection.execute("SELECT pg_logical_emit_message(false, 'reactive_demo repair', '')")
            for key, pair in pairs.items():
                if pair.stored.version:
                    rows.refresh(key)
            pairs = sides.differing(pairs)
            if not pairs or time.monotonic() > deadline:
                return dict(pairs)


def _record(database_url: str, table: str, keys: Iterable[str]) -> None:
    """Record each key as changed, in a transaction of its own: so none waits for two locks."""
    with open_postgres(database_url, "repair") as connection:
        for key in keys:
            connection.execute("SELECT reactive.record_change(%s, %s)", [table, key])


def _await(
    sides: Sides, pairs: Mapping[str, Pair], listener: Listener, timeout: float
) -> dict[str, Pair]:
    """Wait until no pair differs; return those that still do after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (left := sides.differing(pairs)) and time.monotonic() < deadline:
        listener.check()
        pairs = left
        time.sleep(0.05)
    return left


def _write(sides: Sides, keys: Iterable[str]) -> None:
    """Read each row again and write it at once; nothing guards the moment in between."""
    for key in keys:
        row = sides.table.look_up([key])[key].row
        sides.cache.put([Change(key, json.loads(row) if row else None)])
