"""Figures that are published: by others on their machines, or by us on another day."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DEBEZIUM_LATENCY", "DEBEZIUM_WRITES", "IDLE_LISTENERS", "Published"]


@dataclass(frozen=True, slots=True)
class Published:
    """A curve that was not measured here and now."""

    name: str
    """What, and whose; as the legend says it."""
    points: Sequence[tuple[float, float]]
    source: str


DEBEZIUM_WRITES = Published(
    "Debezium 3.6 (ours, another day)",
    [(32, 0.5)],
    "docs/performance.md: the embedded engine with a handler in Python, 2 cores; 0.48 to 0.51",
)

DEBEZIUM_LATENCY = Published(
    "Debezium 3.6 (ours, another day)",
    [(100, 6.7), (1_500, 8.0)],
    "docs/performance.md: medians under light load, and at 1,500 writes a second (7 to 9 ms)",
)

IDLE_LISTENERS = Published(
    "Joel Jacobson, PostgreSQL before 19 (theirs)",
    [(2, 9_126), (12, 6_233), (102, 2_020), (1_002, 238)],
    "https://github.com/joelonsql/pg-bench-listen-notify",
)
