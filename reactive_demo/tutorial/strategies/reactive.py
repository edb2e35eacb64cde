"""Reactive: the app writes the database, once, and nothing else."""

from reactive_demo.tutorial.strategies.strategy import Strategy, check

__all__ = ["Reactive"]


class Reactive(Strategy):
    """One round trip; a `Listener` brings the change to the cache.

    Nothing can fail half-way: the write is committed or it is not. The cache lags for a moment, or
    for as long as no listener runs; with a `ChangeTableFeed` it catches up.
    """

    def write(self, username: str, counter: str) -> int | None:
        """Add one in the database; return the version for `Cache.wait_for`, if there is one."""
        check(username, counter)
        return self.rows.increment(username, counter)
