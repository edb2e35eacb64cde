"""The meter on the command line: with a bar that shows how far it is."""

import sys
from collections.abc import Sequence

import psycopg
import redis
from tqdm import tqdm

from reactive_demo.errors import ReactiveDemoError, first_line
from reactive_demo.feeds.rows import UNREADABLE
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.servers import Stack
from reactive_demo.tools.audit.meter import AGAIN, audit
from reactive_demo.tools.audit.repairs import repair
from reactive_demo.tools.audit.verdict import Report

__all__ = ["reason", "run"]

EXPECTED = (ReactiveDemoError, psycopg.Error, redis.RedisError)
"""What says by itself what is wrong."""

NOTICED = 1.0
"""Seconds after which work is long enough for a bar."""


def run(
    servers: Stack, table: str, *, repairs: bool = False, again: Sequence[float] = AGAIN
) -> Report:
    """Compare, and repair what is wrong if asked to. Raises as `audit` and `repair` do."""
    cache = Cache(servers.redis_url, table)
    try:
        # No bar where nobody looks: the error stream may be a log.
        with tqdm(unit=" keys", disable=None, delay=NOTICED, leave=False, file=sys.stderr) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            report = audit(servers.database_url, cache, again=again, progress=progress)
        if repairs and not report.agrees:
            report = repair(servers.database_url, cache, report)
        return report
    finally:
        cache.close()


def reason(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, UNREADABLE):
        return (
            f"PostgreSQL cannot show a row ({first_line(error)}): the log of a listener names it."
        )
    kind = "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
    return kind + first_line(error)
