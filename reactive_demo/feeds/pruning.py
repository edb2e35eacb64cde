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

REST = 20
"""How many times as long as a step takes the pause after it is, at least: meanwhile no change is
read. So where many writers compete for the processor, steps become rare."""

MOST = 64
"""How many times as many changes a step examines, at most, to get past a transaction. The rest of a
longer one is left to the next change of each key, and to the retention."""

NOT_ALLOWED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)


class Pruning:
    """Prunes the change log of one captured table, as far as this session has read it."""

    def __init__(self, statements: Statements, options: Options) -> None:
        self._statements = statements
        self._options = options
        self._examined = 0
        self._some = options.prune_rows
        self._supersede_at = self._prune_at = 0.0

    def step(self, xmin: int) -> None:
        """Prune a little, if it is time, of what was changed by transactions below `xmin`.

        An account that may not delete prunes nothing, and a read-only server is left alone.
        """
        now = time.monotonic()
        try:
            if now >= self._supersede_at:
                pause = self._supersede(xmin)
                ended = time.monotonic()
                self._supersede_at = ended + max(
                    pause, min(REST * (ended - now), self._options.heartbeat)
                )
            if now >= self._prune_at:
                self._prune_at = now + self._prune(xmin)
        except NOT_ALLOWED as error:
            log.info("the change log is not pruned: %s", error.diag.message_primary)
            self._supersede_at = self._prune_at = now + self._options.prune_interval

    def _supersede(self, xmin: int) -> float:
        """Remove what is superseded; return the seconds until the next time."""
        options = self._options
        examined, last = self._statements.one(
            "supersede", since=str(self._examined), xmin=str(xmin), some=self._some
        )
        more, reached = examined == self._some, int(last or self._examined)
        if not more or reached > self._examined:
            self._some, self._examined = options.prune_rows, reached
        elif self._some < MOST * options.prune_rows:  # a step must be longer than a transaction
            self._some *= 2
        else:
            self._some, self._examined = options.prune_rows, reached + 1
        return options.prune_pause if more else options.heartbeat

    def _prune(self, xmin: int) -> float:
        """Forget what is too old; return the seconds until the next time."""
        options = self._options
        age = f"{options.retention:g} s"
        (pruned,) = self._statements.one(
            "prune", xmin=str(xmin), some=options.prune_rows, retention=age
        )
        return options.prune_pause if pruned == options.prune_rows else options.prune_interval
