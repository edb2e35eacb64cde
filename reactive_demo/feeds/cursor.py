"""How far a reader of the change table has read."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Cursor"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a reader has seen: a whole snapshot, since transactions do not end in order.

    Not yet seen is what had not begun then, and what was in progress.
    """

    snapshot: str
    """As PostgreSQL prints a pg_snapshot: `xmin:xmax:xip,xip,...`."""

    @property
    def xmin(self) -> int:
        """The oldest transaction that was in progress."""
        return int(self.snapshot.split(":")[0])

    @property
    def xmax(self) -> int:
        """The first that had not begun."""
        return int(self.snapshot.split(":")[1])

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a read of what is not yet seen."""
        xmin, xmax, in_progress = self.snapshot.split(":")
        return {
            "xmin": xmin,
            "xmax": xmax,
            "in_progress": in_progress.split(",") if in_progress else [],
        }
