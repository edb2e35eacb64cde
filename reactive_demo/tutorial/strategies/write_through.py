"""Write-through: the app writes the cache and the database, one after the other, and waits."""

from typing import Literal

from reactive_demo.tutorial.strategies.strategy import Strategy, check

__all__ = ["WriteThrough"]


class WriteThrough(Strategy):
    """Two writes, two round trips, and nothing that holds them together.

    `first` says which is written first. If the app dies in between, the cache shows what never was
    (`cache`, as the article has it), or does not show what is (`database`), until somebody mends
    it. With `database`, two writers who overtake each other leave the older row in the cache.
    """

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        prefix: str = "profile",
        *,
        first: Literal["cache", "database"] = "cache",
    ) -> None:
        super().__init__(database_url, redis_url, prefix)
        self.first = first

    def write(self, username: str, counter: str) -> None:
        """Add one in both places; a row that is not cached is read first."""
        check(username, counter)
        if self.first == "database":
            self.copies.put(self.rows.incremented(username, counter))
            return
        while not self.copies.add(username, counter):
            self.copies.put_if_absent(self.rows.get_or_new(username))
        self.rows.increment(username, counter)
