"""Write-behind: the app writes the cache and leaves a message; the database follows."""

from reactive_demo.redis_cache.keys import stream_key
from reactive_demo.tutorial.strategies.strategy import Strategy, check

__all__ = ["WriteBehind"]


class WriteBehind(Strategy):
    """One round trip: copy and message are in one Redis, and are written in one step.

    Until a `Consumer` has brought the message to the database, Redis holds the only record of the
    write, and what Redis loses is lost. Redis must not evict these keys either: an evicted copy
    would be filled again from a database that has not caught up.
    """

    def write(self, username: str, counter: str) -> None:
        """Add one to the copy, and leave a message for the database."""
        check(username, counter)
        while not self.copies.add(username, counter, stream_key(self.copies.prefix)):
            self.copies.put_if_absent(self.rows.get_or_new(username))
