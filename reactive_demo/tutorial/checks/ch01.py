"""Messages on channels: who listens, what was heard, and what a rollback took back."""

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

import psycopg
import redis
from psycopg import sql

from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict

__all__ = ["heard", "heard_on", "letter_found", "listens", "stream_keeps", "taken_back"]

Connection = psycopg.Connection[Any]

Batches = Sequence[Sequence[psycopg.Notify]]
"""What was heard, one batch a call of the notebook's `hear`."""


def listens(connection: Connection, *channels: str) -> Verdict:
    """The connection hears the channels: the server says so."""
    hears = _channels(connection)
    if missing := [channel for channel in channels if channel not in hears]:
        raise CheckFailed(
            f"The connection does not listen on {missing[0]} (it listens on {_listed(hears)}): "
            f"run the cell with `LISTEN {missing[0]}`."
        )
    return Verdict(f"the server says that this connection listens on {_listed(channels)}")


def heard(connection: Connection, batches: Batches, *wanted: list[str]) -> Verdict:
    """Each of `wanted` is exactly what one call of `hear` brought, on a connection that listens."""
    payloads = [[notification.payload for notification in batch] for batch in batches]
    for messages in wanted:
        if messages not in payloads:
            last = reprlib.repr(payloads[-1]) if payloads else "nothing"
            raise CheckFailed(
                f"No call of `hear` brought exactly {messages}; the last one brought {last}. The "
                f"connection listens on {_listed(_channels(connection))}. Were the messages said "
                "there, committed, and then heard? Run the cells of this section again."
            )
    return Verdict(f"heard, no more and no less: {', then '.join(map(str, wanted))}")


def heard_on(connection: Connection, batches: Batches, *channels: str) -> Verdict:
    """The connection listens on all the channels, and has heard something on each."""
    listens(connection, *channels)
    spoken = {notification.channel for batch in batches for notification in batch}
    if silent := [channel for channel in channels if channel not in spoken]:
        raise CheckFailed(
            f"Nothing was heard on {silent[0]}: say something there, with `NOTIFY {silent[0]}`, "
            "and call `hear`."
        )
    return Verdict(f"one connection heard {_listed(channels)}")


def taken_back(connection: Connection, table: str) -> Verdict:
    """A row was written to `table` and rolled back.

    A sequence is never rolled back: it has given more numbers than there are rows.
    """
    ((given, rows),) = _ask_table(
        connection,
        table,
        "SELECT coalesce(pg_sequence_last_value(given.name), 0), (SELECT count(*) FROM {table})"
        " FROM (SELECT pg_get_serial_sequence({name}, 'id')::regclass AS name) AS given",
    )
    if given <= rows:
        raise CheckFailed(
            f"Every row that was written to {table} is still there: no writer has failed yet. Was "
            "a letter of 8,000 bytes sent?"
        )
    return Verdict(f"{table}: a row was written, and taken back")


def letter_found(connection: Connection, batches: Batches, table: str, length: int) -> Verdict:
    """A number was heard, and is the `id` of a row whose `body` has at least `length` letters."""
    keys = [
        notification.payload
        for batch in batches
        for notification in batch
        if notification.payload.isdecimal()
    ]
    if not keys:
        raise CheckFailed(
            f"No key was heard: store the letter in {table}, send its id with `pg_notify`, and "
            "call `hear`."
        )
    rows = _ask_table(
        connection,
        table,
        "SELECT length(body) FROM {table} WHERE id::text = ANY(%s)",
        [keys],
    )
    longest = max((size or 0 for (size,) in rows), default=0)
    if longest < length:
        raise CheckFailed(
            f"The keys heard ({', '.join(keys)}) lead to a letter of {longest:,} characters at "
            f"most: is one of {length:,} in {table}, and its transaction committed?"
        )
    return Verdict(f"the key was heard, and leads to a letter of {longest:,} characters")


def stream_keeps(redis_url: str, stream: str, *values: str) -> Verdict:
    """The stream holds `values`, one an entry, in order, whoever has read them."""
    try:
        with open_redis(redis_url) as client:
            kept = [value for _, entry in client.xrange(stream) for value in entry.values()]
    except redis.RedisError as error:
        raise CheckFailed(f"Redis cannot read the stream {stream}: {error}.") from None
    if kept != list(values):
        raise CheckFailed(
            f"The stream {stream} holds {kept}, and not {list(values)}: run the cell with `xadd`."
        )
    return Verdict(f"{stream} has been read, and still holds all {len(kept)} entries")


def _channels(connection: Connection) -> list[str]:
    return sorted(name for (name,) in _ask(connection, "SELECT pg_listening_channels()"))


def _ask_table(
    connection: Connection, table: str, query: LiteralString, parameters: Any = None
) -> list[tuple[Any, ...]]:
    if _ask(connection, "SELECT to_regclass(%s)", [table]) == [(None,)]:
        raise CheckFailed(f"There is no table {table}: run the cell that creates it.")
    names = {"table": sql.Identifier(table), "name": sql.Literal(table)}
    return _ask(connection, sql.SQL(query).format(**names), parameters)


def _ask(
    connection: Connection, query: LiteralString | sql.Composed, parameters: Any = None
) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(query, parameters).fetchall()
    except psycopg.Error as error:
        raise CheckFailed(
            f"The connection does not answer ({error}): run the cell that opens it again, and "
            "those after it."
        ) from None


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names) or "no channel"
