"""Write-behind: the app writes the cache and leaves a message; the database comes later."""

from reactive_demo.redis_cache.keys import stream_key
from reactive_demo.tutorial.strategies.strategy import Strategy, check

__all__ = ["WriteBehind"]


class WriteBehind(Strategy):
    """One round trip: the copy and the message are in one Redis, and are written in one step.

    Until a `Consumer` has brought the message into the database, Redis holds the only record of
    it. What Redis loses is lost; and a copy that it evicts is read from a database that does not
    know the newest yet, so its keys may not be evicted.
    """

    def write(self, username: str, counter: str) -> None:
        """Add one to the copy, and leave a message for the database."""
        check(username, counter)
        while not self.copies.add(username, counter, stream_key(self.copies.prefix)):
            self.copies.put_if_absent(self.rows.get_or_new(username))
