"""The audit on the command line, with a progress bar where tqdm is installed."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from reactive_demo.errors import first_line, in_a_sentence
from reactive_demo.feeds.rows import UNREADABLE
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.servers import Stack
from reactive_demo.tools.audit.meter import AGAIN, Progress, audit
from reactive_demo.tools.audit.repairs import repair
from reactive_demo.tools.audit.verdict import Report

__all__ = ["reason", "run"]

BAR_DELAY = 1.0
"""Seconds before the bar appears: most audits are over by then."""


def run(
    servers: Stack,
    table: str,
    *,
    feed: str | None = None,
    repairs: bool = False,
    again: Sequence[float] = AGAIN,
) -> Report:
    """Compare; with `repairs`, repair the wrong rows. Raises as `audit` and `repair` do."""
    cache = Cache(servers.redis_url, table)
    try:
        with _progress_bar() as progress:
            report = audit(servers.database_url, cache, feed=feed, again=again, progress=progress)
        if repairs and not report.agrees:
            report = repair(servers.database_url, cache, report)
        return report
    finally:
        cache.close()


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """Show the progress on the error stream, if that is a terminal and tqdm is installed."""
    try:
        from tqdm import tqdm  # noqa: PLC0415  (in the extra notebook)
    except ImportError:
        yield lambda _done, _total: None
        return
    with tqdm(unit=" keys", disable=None, delay=BAR_DELAY, leave=False, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def reason(error: BaseException) -> str:
    """Return an error in one line."""
    if isinstance(error, UNREADABLE):
        return (
            f"PostgreSQL cannot show a row ({first_line(error)}): a listener's log names the row."
        )
    return in_a_sentence(error)
