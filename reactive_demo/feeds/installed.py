"""Which feed a table is installed for, and a feed that finds out each time it is opened."""

from typing import TYPE_CHECKING, Any

from reactive_demo.capture.schema import resolve
from reactive_demo.errors import ConfigurationError
from reactive_demo.feeds.change_table import ChangeTableFeed
from reactive_demo.feeds.log import LogFeed
from reactive_demo.feeds.queries import query
from reactive_demo.feeds.session import DurableFeed, DurableSession
from reactive_demo.feeds.table import CapturedTable, describe, describe_published
from reactive_demo.options import Options
from reactive_demo.postgres import open_postgres

if TYPE_CHECKING:
    import psycopg

__all__ = ["CHANGE_TABLE", "LOG", "InstalledFeed", "describe_installed", "installed"]

CHANGE_TABLE, LOG = ChangeTableFeed.kind, LogFeed.kind


def installed(connection: "psycopg.Connection[Any]", table: str) -> list[str]:
    """Return the kinds of feed that `table` is installed for; any account may ask."""
    found = connection.execute(query("installed"), {"table": resolve(connection, table)})
    return [kind for (kind,) in found]


def choose(connection: "psycopg.Connection[Any]", table: str, feed: str | None = None) -> str:
    """Return the kind of feed by which `table` is to be followed: `feed`, or the one installed.

    Without any it is the change table, whose errors say what to do. Raises ConfigurationError if
    it is installed for both.
    """
    kinds = [feed] if feed else installed(connection, table)
    if len(kinds) > 1:
        raise ConfigurationError(
            f"The table {table} is installed for both feeds, {' and '.join(kinds)}: name one with "
            "--feed, or take the other off."
        )
    return kinds[0] if kinds else CHANGE_TABLE


def describe_installed(
    connection: "psycopg.Connection[Any]", table: str, feed: str | None = None
) -> tuple[str, CapturedTable]:
    """Say by which kind of feed `table` is followed, and what it is. Raises as `describe` does."""
    kind = choose(connection, table, feed)
    return kind, (describe_published if kind == LOG else describe)(connection, table)


class InstalledFeed(DurableFeed):
    """The changes of a table by the feed that it is installed for, whenever that changes."""

    kind = "installed"

    def __init__(
        self,
        database_url: str,
        table: str = "profile",
        *,
        feed: str | None = None,
        options: Options | None = None,
    ) -> None:
        super().__init__(database_url, table, options=options)
        self.feed = feed

    def open(self) -> DurableSession:
        """Connect as that feed does. Raises NotCapturedError if the table is not installed."""
        timeout = max(1, round(self.options.connect_timeout))
        with open_postgres(self.database_url, "look up", connect_timeout=timeout) as connection:
            kind = choose(connection, self.table, self.feed)
        feed = LogFeed if kind == LOG else ChangeTableFeed
        return feed(self.database_url, self.table, options=self.options).open()
