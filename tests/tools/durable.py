"""The feeds that lose nothing: what must hold for one must hold for the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
import pytest

from reactive_demo import ChangeTableFeed, LogFeed, install, uninstall
from reactive_demo.options import Options

__all__ = [
    "BOTH",
    "CHANGE_TABLE",
    "LOG",
    "Durable",
    "change_table_only",
    "long_for_the_log",
    "slot",
]


@dataclass(frozen=True)
class Durable:
    """One of the two ways, put on a table and followed."""

    feed: type[ChangeTableFeed] | type[LogFeed]

    def install(
        self, database_url: str, table: str = "profile", *, exclude: Sequence[str] | None = None
    ) -> None:
        install(database_url, table, feed=self.feed.kind, exclude=exclude)

    def follow(
        self, database_url: str, table: str = "profile", *, options: Options | None = None
    ) -> ChangeTableFeed | LogFeed:
        return self.feed(database_url, table, options=options)

    def release(self, database_url: str) -> None:
        """Leave no slot behind: it would keep the log, and the database could not be dropped."""
        if self.feed is LogFeed:
            uninstall(database_url)

    @property
    def absent(self) -> str:
        """What a listener says of a table on which nothing is installed."""
        return "is not published" if self.feed is LogFeed else "is not captured"

    @property
    def application(self) -> str:
        """The name of the connection that hears of changes."""
        return f"reactive_demo {'stream' if self.feed is LogFeed else 'listen'}"

    def __str__(self) -> str:
        return self.feed.kind


CHANGE_TABLE, LOG = Durable(ChangeTableFeed), Durable(LogFeed)

BOTH = [pytest.param(way, id=str(way)) for way in (CHANGE_TABLE, LOG)]

change_table_only = pytest.mark.parametrize("durable", BOTH[:1], indirect=True)

long_for_the_log = pytest.mark.parametrize(
    "durable",
    [BOTH[0], pytest.param(LOG, id="log", marks=pytest.mark.long)],
    indirect=True,
)
"""A test that takes a second or more: with the log, among those that take minutes."""


def slot(connection: psycopg.Connection, column: str = "slot_name") -> object:
    """A column of the one slot of this database; None if there is none."""
    found = connection.execute(
        f"SELECT {column} FROM pg_replication_slots WHERE database = current_database()".encode()
    ).fetchone()
    return found and found[0]
