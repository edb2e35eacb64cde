"""How far the log is settled: others see all changes of a table that are in the log up to there.

A transaction is in the log as soon as its commit is written, and is seen by others only when its
process has noted the end: after its commit is on disk and, with synchronous replication, on a
standby. So a position that is taken before a snapshot is not safe by itself: a commit before that
position may not be in the snapshot, and the row would be given a version that its change loses to.

But PostgreSQL releases a transaction's locks only after its commit is visible to new snapshots, and
a writer has a lock of each table that it wrote. So take the position, and then look who holds such
a lock. Each transaction that committed before the position is either among them, or visible by
now. Once none of them holds it any more, all are visible, to each snapshot that is taken then; and
whatever such a snapshot does not contain commits after the position.
"""

from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from reactive_demo.feeds.queries import query

if TYPE_CHECKING:
    import psycopg

__all__ = ["Settling"]

PATIENCE = 0.1
"""Seconds that a reader waits for writers to commit."""

PAUSE = 0.001


class Settling:
    """Looks at the writers of one table; those that take long are waited for only once."""

    def __init__(self, connection: "psycopg.Connection[Any]", table: str) -> None:
        self._connection = connection
        self._parameters = {"table": table}
        self._slow: frozenset[str] = frozenset()

    def end(self) -> int | None:
        """Return a position up to which the log is settled; None while somebody writes for long."""
        ((end,),) = self._connection.execute(query("log_insert_end"))
        deadline = monotonic() + PATIENCE
        writers = self._writers()
        while writers:
            if writers & self._slow or monotonic() > deadline:
                self._slow = writers
                return None
            sleep(PAUSE)
            writers &= self._writers()
        return int(end)

    def _writers(self) -> frozenset[str]:
        found = self._connection.execute(query("table_writers"), self._parameters)
        return frozenset(writer for (writer,) in found)
