"""Checks of chapter 01: who listens, what was heard, and what a rollback undid."""

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
"""What was heard: a batch for each call of the notebook's `hear`."""


def listens(connection: Connection, *channels: str) -> Verdict:
    """Check with the server that the connection listens on the channels."""
    listening = _channels(connection)
    if missing := [channel for channel in channels if channel not in listening]:
        raise CheckFailed(
            f"The connection does not listen on {missing[0]} (it listens on {_listed(listening)}): "
            f"run the cell with `LISTEN {missing[0]}`."
        )
    return Verdict(f"the server says that this connection listens on {_listed(channels)}")


def heard(connection: Connection, batches: Batches, *wanted: list[str]) -> Verdict:
    """Check that each of `wanted` is exactly what one call of `hear` returned."""
    payloads = [[notification.payload for notification in batch] for batch in batches]
    for messages in wanted:
        if messages not in payloads:
            last = reprlib.repr(payloads[-1]) if payloads else "nothing"
            raise CheckFailed(
                f"No call of `hear` brought exactly {messages}; the last one brought {last}. The "
                f"connection listens on {_listed(_channels(connection))}. Were the messages sent "
                "there, committed, and then heard? Run the cells of this section again."
            )
    return Verdict(f"heard, no more and no less: {', then '.join(map(str, wanted))}")


def heard_on(connection: Connection, batches: Batches, *channels: str) -> Verdict:
    """Check that the connection listens on all the channels, and heard something on each."""
    listens(connection, *channels)
    heard_from = {notification.channel for batch in batches for notification in batch}
    if silent := [channel for channel in channels if channel not in heard_from]:
        raise CheckFailed(
            f"Nothing was heard on {silent[0]}: send something there with `NOTIFY {silent[0]}`, "
            "and call `hear`."
        )
    return Verdict(f"one connection heard {_listed(channels)}")


def taken_back(connection: Connection, table: str) -> Verdict:
    """Check that a row was written to `table` and rolled back.

    A sequence is never rolled back, so it has then handed out more numbers than there are rows.
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
    """Check that a number was heard that is the `id` of a row with a `body` of `length` or more."""
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
    """Check that the stream still holds `values`, one an entry, in order."""
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
