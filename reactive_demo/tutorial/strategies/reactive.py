"""Reactive: the app writes the database, once, and nothing else."""

from reactive_demo.tutorial.strategies.strategy import Strategy, check

__all__ = ["Reactive"]


class Reactive(Strategy):
    """One round trip; a `Listener` brings the change into the cache.

    There is nothing to fail between: the write is committed or it is not. The cache is behind for
    a moment, or for as long as the listener is away; with a `ChangeTableFeed` it catches up.
    """

    def write(self, username: str, counter: str) -> int | None:
        """Add one in the database; the version, for `Cache.wait_for`, where there is one."""
        check(username, counter)
        return self.rows.increment(username, counter)
