"""The table `profile`, as needed by the strategies that write the cache themselves."""

from collections.abc import Sequence
from typing import Any

from reactive_demo.app.profiles import COUNTERS, Profiles

__all__ = ["Rows"]

INCREMENT = """
    INSERT INTO public.profile AS p (username, followings_count, followers_count, likes_count)
    VALUES (%s, %s, %s, %s)
    ON CONFLICT (username) DO UPDATE
    SET followings_count = p.followings_count OPERATOR(pg_catalog.+) excluded.followings_count,
        followers_count  = p.followers_count  OPERATOR(pg_catalog.+) excluded.followers_count,
        likes_count      = p.likes_count      OPERATOR(pg_catalog.+) excluded.likes_count
    RETURNING *
"""


class Rows(Profiles):
    """Profiles whose writes return the row."""

    def incremented(self, username: str, counter: str) -> dict[str, Any]:
        """Add one to a counter; return the row as it is then."""
        return self._execute(INCREMENT, username, *(int(c == counter) for c in COUNTERS))[0]

    def get_or_new(self, username: str) -> dict[str, Any]:
        """Return the row, or a new one with all counters at 0."""
        new = {"username": username} | {f"{counter}_count": 0 for counter in COUNTERS}
        return self.get(username) or new

    def store(self, stream: str, messages: Sequence[tuple[str, str, str]]) -> int:
        """Count `messages` (id, username, counter), each id once; return how many were new.

        Needs `sql/06_write_behind.sql`.
        """
        if not messages:
            return 0
        [row] = self._execute(
            "SELECT reactive.store(%s, %s, %s, %s) AS new",
            stream,
            *(list(column) for column in zip(*messages, strict=True)),
        )
        new: int = row["new"]
        return new
