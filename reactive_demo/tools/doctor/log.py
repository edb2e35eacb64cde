"""What the doctor examines of PostgreSQL's log: may it be decoded, and what do slots retain."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from reactive_demo.capture.slots import Slot, shown_size, slots_of
from reactive_demo.tools.doctor.report import Line, State
from reactive_demo.tools.rights import lacking_replication

if TYPE_CHECKING:
    import psycopg

__all__ = ["Log", "examine", "slot"]

LOG = "log"

FACTS = """
    SELECT current_setting('wal_level'),
           (SELECT count(*) FROM pg_replication_slots),
           current_setting('max_replication_slots')::int,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
           current_setting('max_wal_senders')::int,
           (SELECT setting::bigint * 1048576 FROM pg_settings
            WHERE name = 'max_slot_wal_keep_size'),
           ARRAY(SELECT format('%I.%I', n.nspname, c.relname)
                 FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
                 JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE starts_with(p.pubname::text, 'reactive_'))
"""


class Log(NamedTuple):
    """How the server keeps its log."""

    level: str
    slots: int
    max_slots: int
    senders: int
    max_senders: int
    limit: int
    """Bytes that a slot may retain; negative if there is no limit."""
    tables: list[str]
    """The tables that are published in it."""

    def lines(self, replication: str) -> Iterator[Line]:
        """Yield what is amiss, or that it is well; `replication` is the statement it takes."""
        if self.level != "logical":
            words = f"wal_level is {self.level}: ChangeTableFeed needs no more, LogFeed does."
            if self.tables:
                words = (
                    f"wal_level is {self.level}, so nobody can read what {', '.join(self.tables)} "
                    "publish: set wal_level = logical and restart PostgreSQL."
                )
            yield Line(LOG, State.MEND if self.tables else State.OK, words)
            return
        faults = list(self._faults(replication)) if self.tables else []
        yield from (Line(LOG, State.WARNING, fault) for fault in faults)
        if not faults:
            may = "any amount" if self.limit < 0 else shown_size(self.limit)
            words = (
                f"wal_level is logical; {self.slots} of {self.max_slots} slots and {self.senders} "
                f"of {self.max_senders} senders are in use; a slot may retain {may}"
            )
            yield Line(LOG, State.OK, words)

    def _faults(self, replication: str) -> Iterator[str]:
        if replication:
            yield f"this account may not read the log: {replication}."
        if self.slots >= self.max_slots:
            yield (
                f"all {self.max_slots} slots are in use: drop one that nobody reads, or raise "
                "max_replication_slots and restart PostgreSQL."
            )
        if self.senders >= self.max_senders:
            yield (
                f"all {self.max_senders} senders are in use: raise max_wal_senders and restart "
                "PostgreSQL."
            )
        if self.limit < 0:
            yield (
                "a slot that nobody reads keeps the log until the disk is full: set "
                "max_slot_wal_keep_size, and reload."
            )


def examine(connection: "psycopg.Connection[Any]") -> Iterator[Line]:
    """Yield the lines about the log of the server, which is no replica."""
    with connection.transaction():
        connection.execute(
            "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)"
        )
        log = Log._make(connection.execute(FACTS).fetchall()[0])
        replication = lacking_replication(connection)
        slots = slots_of(connection, None)
        owners = {one.name: table for table in log.tables for one in slots_of(connection, table)}
    yield from log.lines(replication)
    yield from (slot(one, owners.get(one.name)) for one in slots)


def slot(one: Slot, table: str | None) -> Line:
    """Return the line for a slot of ours; without a table, it is of one that is not published."""
    whose = f"of {table}" if table else "of a table that is not published any more"
    drop = f"drop it (SELECT pg_drop_replication_slot('{one.name}'))"
    words = f"{whose}: {one}"
    if table is None:
        words += f": {drop}."
    elif one.lost:
        words += ": start a listener, which makes it anew and fills the cache."
    elif not one.active:
        words += f": start a listener, or {drop}."
    elif one.limit and one.retained > one.limit / 2:
        words += f", more than half of the {shown_size(one.limit)} that it may: see its status."
    else:
        return Line("slot", State.OK, words)
    return Line("slot", State.WARNING, words)
