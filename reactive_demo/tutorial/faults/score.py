"""How far a cache is behind what was committed, as tracked by the writer. No I/O."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

__all__ = ["Score", "StalenessTracker"]


@dataclass(frozen=True, slots=True)
class Score:
    """The damage to one pipeline."""

    lost: int = 0
    """Changes that will never arrive: writes refused, and profiles that stay wrong."""
    stale: int = 0
    """Profiles whose cached row is behind now."""
    worst: float = 0.0
    """The longest that a profile was behind, in seconds."""


class StalenessTracker:
    """Tracks what was committed to each profile, and when. Safe to use from any thread.

    Likes only grow, so a cached row with too few has been behind since the first commit that added
    more. A row that is absent, or went back, has been behind since it was last seen up to date.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._likes: dict[str, list[int]] = {}
        self._times: dict[str, list[float]] = {}
        self._up_to_date: dict[str, float] = {}
        self.worst = 0.0
        """The longest that a profile was behind, in seconds; callers may reset it to 0."""
        self.behind: dict[str, float] = {}
        """The profiles that were behind at the last look, and for how many seconds."""

    def record(self, rows: Mapping[str, int], now: float) -> None:
        """Record the likes that profiles have from `now` on."""
        with self._lock:
            for key, likes in rows.items():
                known = self._likes.setdefault(key, [])
                if not known or likes > known[-1]:
                    known.append(likes)
                    self._times.setdefault(key, []).append(now)

    def compare(self, cached: Mapping[str, int | None], now: float) -> None:
        """Determine which profiles are behind, given the likes that the cache shows."""
        with self._lock:
            behind: dict[str, float] = {}
            for key, known in self._likes.items():
                since = self._since(key, known, cached.get(key))
                if since is None:
                    self._up_to_date[key] = now
                else:
                    behind[key] = now - since
            self.behind = behind
            self.worst = max(self.worst, *behind.values(), 0.0)

    def _since(self, key: str, known: list[int], likes: int | None) -> float | None:
        """Return the time since which a profile has been behind, or None if it is not."""
        unseen = 0 if likes is None else bisect_right(known, likes)
        if unseen == len(known):
            return None
        return max(self._times[key][unseen], self._up_to_date.get(key, 0.0))
