"""What all strategies have in common."""

from abc import ABC, abstractmethod
from typing import Any, Self

from reactive_demo.app.profiles import COUNTERS
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.tutorial.strategies.copies import Copies
from reactive_demo.tutorial.strategies.rows import Rows

__all__ = ["Strategy"]


class Strategy(ABC):
    """Counts on the table `profile`, with copies in Redis under `<prefix>:<username>`.

    Safe to use from any thread. A method raises ReactiveDemoError when PostgreSQL does not answer,
    and redis.RedisError when Redis does not; what is left then is what the strategies differ in.
    """

    def __init__(self, database_url: str, redis_url: str, prefix: str = "profile") -> None:
        self.rows = Rows(database_url)
        self.copies = Copies(redis_url, prefix)

    @abstractmethod
    def write(self, username: str, counter: str) -> int | None:
        """Add one to a counter of a profile, making it if there is none.

        The version that a reader can wait for, where the strategy has one. Raises
        ReactiveDemoError for a counter that is none of `COUNTERS`, or a name that no row can have.
        """

    def read(self, username: str) -> dict[str, Any] | None:
        """The profile as the cache has it, or None."""
        return self.copies.get(username)

    def close(self) -> None:
        """Close the connections; a call after that makes new ones."""
        self.rows.close()
        self.copies.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.copies.prefix})"


def check(username: str, counter: str) -> None:
    """Refuse what the database would refuse, before anything is written anywhere."""
    if counter not in COUNTERS:
        raise ReactiveDemoError(
            f"there is no counter {counter!r}: the counters are {', '.join(COUNTERS)}"
        )
    try:
        fits = "\0" not in username and bool(username.encode())
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise ReactiveDemoError(f"{username!r} is no name that the database could hold.")
