"""Cache-aside with expiry: what most applications do, and the honest baseline."""

from typing import Any

from reactive_demo.tutorial.strategies.strategy import Strategy, check

__all__ = ["CacheAside"]


class CacheAside(Strategy):
    """The app writes the database and drops the copy; the next reader fills it again.

    If the app dies between the two, or a slow reader stores a row that it read before the write,
    the copy is wrong until it expires, `expiry` seconds after it was made.
    """

    def __init__(
        self, database_url: str, redis_url: str, prefix: str = "profile", *, expiry: float = 60
    ) -> None:
        super().__init__(database_url, redis_url, prefix)
        self.expiry = expiry

    def write(self, username: str, counter: str) -> None:
        """Add one in the database, and drop the copy."""
        check(username, counter)
        self.rows.increment(username, counter)
        self.copies.invalidate(username)

    def read(self, username: str) -> dict[str, Any] | None:
        """Return the copy; if there is none, return the row and keep a copy of it."""
        row = self.copies.get(username)
        if row is None and (row := self.rows.get(username)) is not None:
            self.copies.put_for(row, self.expiry)
        return row
