"""A service that reads what a sink sends."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import psycopg

__all__ = ["Seen", "agrees"]


class Seen:
    """What a service knows that compares (epoch, version), and whether it had to."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.versions: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def take(self, found: Iterable[dict[str, Any]]) -> "Seen":
        for message in found:
            key, version = message["key"], (int(message["epoch"]), int(message["version"]))
            if version > max(self.versions[key], default=(0, 0)):
                self.rows[key] = message["row"]
            self.versions[key].append(version)
        return self

    @property
    def twice(self) -> int:
        """How many messages came again."""
        return sum(len(found) - len(set(found)) for found in self.versions.values())


def agrees(database: str, seen: Seen) -> bool:
    """Whether the service knows what the table holds."""
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT username, row_to_json(p) FROM profile p").fetchall()
    return dict(rows) == {key: row for key, row in seen.rows.items() if row is not None}
