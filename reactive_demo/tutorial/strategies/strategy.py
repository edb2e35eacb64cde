"""What all strategies share."""

from abc import ABC, abstractmethod
from typing import Any, Self

from reactive_demo.app.profiles import COUNTERS
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.tutorial.strategies.copies import Copies
from reactive_demo.tutorial.strategies.rows import Rows

__all__ = ["Strategy"]


class Strategy(ABC):
    """Counters in the table `profile`, with copies in Redis under `<prefix>:<username>`.

    Safe to use from any thread. The methods raise ReactiveDemoError when PostgreSQL does not
    answer, and redis.RedisError when Redis does not; the strategies differ in what that leaves.
    """

    def __init__(self, database_url: str, redis_url: str, prefix: str = "profile") -> None:
        self.rows = Rows(database_url)
        self.copies = Copies(redis_url, prefix)

    @abstractmethod
    def write(self, username: str, counter: str) -> int | None:
        """Add one to a counter of a profile, making it if there is none.

        Return the version that a reader can wait for, if the strategy has one. Raises
        ReactiveDemoError for an unknown counter, or a name that PostgreSQL cannot store.
        """

    def read(self, username: str) -> dict[str, Any] | None:
        """Return the profile as the cache has it, or None."""
        return self.copies.get(username)

    def close(self) -> None:
        """Close the connections; a later call makes new ones."""
        self.rows.close()
        self.copies.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.copies.prefix})"


def check(username: str, counter: str) -> None:
    """Raise ReactiveDemoError for what the database would refuse, before anything is written."""
    if counter not in COUNTERS:
        raise ReactiveDemoError(
            f"There is no counter {counter!r}: use one of {', '.join(COUNTERS)}."
        )
    try:
        fits = "\0" not in username and bool(username.encode())
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise ReactiveDemoError(
            f"PostgreSQL cannot store the name {username!r}: it may contain neither NUL nor half "
            "of a surrogate pair."
        )
