"""Versions of what is read from PostgreSQL's log: a position in it, then ten digits. No I/O.

12345 0000000007    the seventh change of the transaction whose commit is at 12345
12345 0000000000    a row as a snapshot has it that contains whatever committed before 12345
"""

__all__ = ["CURSOR", "has_reached", "version_at", "version_to_await"]

CURSOR = "lsn:"
"""What a cursor begins with that is a position in the log."""

SCALE = 10**10

FIRST = SCALE * 2**20
"""No server's log is at so early a position, and no change table counts so far."""


def version_at(lsn: int, place: int) -> str:
    """Return the version of a change: where its transaction's commit is, and its place therein.

    Not the change's own position in the log: a transaction may have written before a snapshot that
    does not contain it, since it committed later.
    """
    return str(lsn * SCALE + place)


def version_to_await(written: int, committed: int) -> int:
    """Return what the cache must reach to hold a write.

    The log's end was at `written` after the write and before its commit, at `committed` after that.
    The writer holds the row's lock at `written`: so each change of the row that commits after that
    position is this one or a later one, and the version of a change tells it. A snapshot, or the
    cursor, is at `committed` or beyond. The number has both, and precedes the change's version.
    """
    return (written - 1) * SCALE + min(committed - written, SCALE - 1)


def has_reached(awaited: int, held: int, cursor: str) -> bool:
    """Return whether a cache has a write: by the row's version, or by how far the log was read.

    Versions of a change table are compared as they are, and those of both kinds not at all.
    """
    if awaited < FIRST:
        return awaited <= held < FIRST
    written, distance = divmod(awaited, SCALE)
    committed = written + 1 + distance
    if cursor.startswith(CURSOR) and int(cursor.removeprefix(CURSOR)) >= committed:
        return True
    return held >= (awaited if held % SCALE else committed * SCALE)
