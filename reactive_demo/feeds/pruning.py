"""Pruning: keep the change log short, a little at a time.

What a later change of the same key supersedes is removed once it is read, and anything older than
the retention. A session whose cache was away for longer meets the number of the last transaction
so forgotten, and fills its cache.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from reactive_demo.errors import first_line, may_pass
from reactive_demo.feeds.statements import Statements
from reactive_demo.options import Options

__all__ = ["Pruning"]

log = logging.getLogger(__name__)

MOST = 64
"""How many times as many changes a step examines, at most, to get past a transaction. The rest of a
longer one is left to the next change of each key, and to the retention."""

CLOSE_TIMEOUT = 0.1
"""Seconds that `close` waits for the thread."""


class Pruning:
    """Prunes the change log of one captured table, as far as a session has read it.

    In a thread, by a connection of its own, which `connect` opens: where many writers compete for
    the processor a statement takes long, and no change would be read meanwhile.
    """

    def __init__(
        self, connect: Callable[[], AbstractContextManager[Statements]], options: Options
    ) -> None:
        self._connect = connect
        self._options = options
        self._xmin = self._examined = 0
        self._some = options.prune_rows
        self._supersede_at = self._prune_at = 0.0
        self._error: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reactive_demo prune", daemon=True)

    def below(self, xmin: int) -> None:
        """Prune, from now on, what was changed by transactions below `xmin`.

        Raises what ended the thread, which only a bug does.
        """
        self._xmin = xmin
        if self._thread.ident is None:
            self._thread.start()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Hang up; if a statement is under way, once that has ended."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        """Prune; after an error pause, for a heartbeat first, up to the interval of pruning.

        There may be no room for another connection, an account may not delete, a server be
        read-only: the session goes on without pruning.
        """
        pause = shortest = self._options.heartbeat
        while not self._stopping.is_set():
            try:
                with self._connect() as statements:
                    while not self._stopping.is_set():
                        self._step(statements)
                        pause = shortest
            except Exception as error:  # noqa: BLE001 - the session raises it
                if not may_pass(error):
                    self._error = error
                    return
                log.info("the change log is not pruned: %s", first_line(error))
            self._stopping.wait(pause)
            pause = max(shortest, min(2 * pause, self._options.prune_interval))

    def _step(self, statements: Statements) -> None:
        """Wait for the next time, and prune a little."""
        self._stopping.wait(min(self._supersede_at, self._prune_at) - time.monotonic())
        if self._stopping.is_set():
            return
        options, now = self._options, time.monotonic()
        if now >= self._supersede_at:
            more = self._supersede(statements)
            self._supersede_at = now + (options.prune_pause if more else options.heartbeat)
        if now >= self._prune_at:
            more = self._forget(statements)
            self._prune_at = now + (options.prune_pause if more else options.prune_interval)

    def _supersede(self, statements: Statements) -> bool:
        """Remove what is superseded; return whether there is more."""
        examined, last = statements.one(
            "supersede", since=str(self._examined), xmin=str(self._xmin), some=self._some
        )
        more, reached = examined == self._some, int(last or self._examined)
        if not more or reached > self._examined:
            self._some, self._examined = self._options.prune_rows, reached
        elif self._some < MOST * self._options.prune_rows:  # it must be longer than a transaction
            self._some *= 2
        else:
            self._some, self._examined = self._options.prune_rows, reached + 1
        return bool(more)

    def _forget(self, statements: Statements) -> bool:
        """Remove what is too old; return whether there is more."""
        options = self._options
        age = f"{options.retention:g} s"
        (pruned,) = statements.one(
            "prune", xmin=str(self._xmin), some=options.prune_rows, retention=age
        )
        return bool(pruned == options.prune_rows)
