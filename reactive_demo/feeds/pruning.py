"""Pruning: keep the change log short, a little at a time.

What a later change of the same key supersedes is removed once it is read, and anything older than
the retention. A session whose cache was away for longer meets the number of the last transaction
so forgotten, and fills its cache.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from time import monotonic

from reactive_demo.errors import first_line, may_pass
from reactive_demo.feeds.side_connection import SideConnection
from reactive_demo.feeds.statements import Statements
from reactive_demo.options import Options

__all__ = ["Pruning"]

log = logging.getLogger(__name__)

MOST = 64
"""How many times as many changes a step examines, at most, to get past a transaction. The rest of a
longer one is left to the next change of each key, and to the retention."""

Waiting = Generator[None, None, bool]
"""Yields while it would have to wait; returns whether there is more to prune."""


class Pruning:
    """Prunes the change log of one captured table, as far as a session has read it.

    It has a connection of its own, which `connect` opens, and never waits: it is a generator that
    goes on at each `step` of the session.
    """

    def __init__(self, connect: Callable[[], Statements], options: Options) -> None:
        self._open = partial(SideConnection, connect, options.silence_timeout)
        self._options = options
        self._xmin = self._examined = 0
        self._some = options.prune_rows
        self._supersede_at = self._prune_at = 0.0
        self._work = self._prune_for_ever()

    def step(self, xmin: int) -> None:
        """Go on, with what was changed by transactions below `xmin`."""
        self._xmin = xmin
        next(self._work)

    def close(self) -> None:
        """Stop, and hang up."""
        self._work.close()

    def _prune_for_ever(self) -> Generator[None, None, None]:
        """Prune; after an error pause, for a heartbeat first, up to the interval of pruning.

        There may be no room for another connection, an account may not delete, a server be
        read-only: the session goes on without pruning.
        """
        pause = shortest = self._options.heartbeat
        while True:
            try:
                with closing(self._open()) as side:
                    while True:
                        yield from self._prune_once(side)
                        pause = shortest
            except Exception as error:
                if not may_pass(error):
                    raise
                log.info("the change log is not pruned: %s", first_line(error))
            again_at = monotonic() + pause
            pause = max(shortest, min(2 * pause, self._options.prune_interval))
            while monotonic() < again_at:
                yield

    def _prune_once(self, side: SideConnection) -> Generator[None, None, None]:
        """Do what is due, what was due first. A pause begins when a statement is sent."""
        options, now = self._options, monotonic()
        if now < min(self._supersede_at, self._prune_at):
            yield
        elif self._supersede_at <= self._prune_at:
            self._supersede_at = now + options.heartbeat
            if (yield from self._supersede(side)):
                self._supersede_at = now + options.prune_pause
        else:
            self._prune_at = now + options.prune_interval
            if (yield from self._forget(side)):
                self._prune_at = now + options.prune_pause

    def _supersede(self, side: SideConnection) -> Waiting:
        """Remove what is superseded."""
        count, last = yield from side.one(
            "supersede", since=str(self._examined), xmin=str(self._xmin), some=self._some
        )
        more, reached = int(count or 0) == self._some, int(last or self._examined)
        if not more or reached > self._examined:
            self._some, self._examined = self._options.prune_rows, reached
        elif self._some < MOST * self._options.prune_rows:  # it must be longer than a transaction
            self._some *= 2
        else:
            self._some, self._examined = self._options.prune_rows, reached + 1
        return more

    def _forget(self, side: SideConnection) -> Waiting:
        """Remove what is too old."""
        options = self._options
        age = f"{options.retention:g} s"
        (pruned,) = yield from side.one(
            "prune", xmin=str(self._xmin), some=options.prune_rows, retention=age
        )
        return int(pruned or 0) == options.prune_rows
