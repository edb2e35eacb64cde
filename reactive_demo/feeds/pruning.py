"""Pruning: keep the change log short, a little at a time.

What a later change of the same key supersedes is removed once it is read, and anything older than
the retention. A session whose cache was away for longer meets the number of the last transaction
so forgotten, and fills its cache.
"""

import logging
import time

import psycopg

from reactive_demo.feeds.statements import Statements
from reactive_demo.options import Options

__all__ = ["Pruning"]

log = logging.getLogger(__name__)

NOT_ALLOWED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)


class Pruning:
    """Prunes the change log of one captured table, as far as this session has read it."""

    def __init__(self, statements: Statements, options: Options) -> None:
        self._statements = statements
        self._options = options
        self._examined = "0"
        self._supersede_at = self._prune_at = 0.0

    def step(self, xmin: int) -> None:
        """Prune a little, if it is time, of what was changed by transactions below `xmin`.

        An account that may not delete prunes nothing, and a read-only server is left alone.
        """
        now = time.monotonic()
        try:
            if now >= self._supersede_at:
                self._supersede_at = now + self._supersede(xmin)
            if now >= self._prune_at:
                self._prune_at = now + self._prune(xmin)
        except NOT_ALLOWED as error:
            log.info("the change log is not pruned: %s", error.diag.message_primary)
            self._supersede_at = self._prune_at = now + self._options.prune_interval

    def _supersede(self, xmin: int) -> float:
        """Remove what is superseded; return the seconds until the next time."""
        options = self._options
        examined, last = self._statements.one(
            "supersede", since=self._examined, xmin=str(xmin), some=options.prune_rows
        )
        more = examined == options.prune_rows and last != self._examined
        self._examined = last or self._examined
        return options.prune_pause if more else options.heartbeat

    def _prune(self, xmin: int) -> float:
        """Forget what is too old; return the seconds until the next time."""
        options = self._options
        age = f"{options.retention:g} s"
        (pruned,) = self._statements.one(
            "prune", xmin=str(xmin), some=options.prune_rows, retention=age
        )
        return options.prune_pause if pruned == options.prune_rows else options.prune_interval
