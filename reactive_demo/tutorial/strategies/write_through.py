"""Write-through: the app writes the cache and the database, one after the other, and waits."""

from typing import Literal

from reactive_demo.tutorial.strategies.strategy import Strategy, check

__all__ = ["WriteThrough"]


class WriteThrough(Strategy):
    """Two writes, two round trips, and nothing that ties them together.

    `first` says which is written first. If the app dies between the two, the cache shows a change
    that never happened (`cache`, the article's order) or misses one that did (`database`), until
    somebody repairs it. With `database`, two writers that overtake each other leave the older row
    in the cache.
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
        """Add one in both places, copying the row to the cache first if it is not there."""
        check(username, counter)
        if self.first == "database":
            self.copies.put(self.rows.incremented(username, counter))
            return
        while not self.copies.add(username, counter):
            self.copies.put_if_absent(self.rows.get_or_new(username))
        self.rows.increment(username, counter)
