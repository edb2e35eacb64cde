"""A second connection of a session, for which the session never waits.

Where many writers compete for the processor, a statement takes long, and a session that waited for
it would read no changes meanwhile. So a thread opens this connection, a statement is only sent, and
its result is taken once it is there: what would have to wait is a generator, and yields instead.
"""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg
from psycopg import pq

from reactive_demo.feeds.statements import Statements
from reactive_demo.postgres import SilentError

__all__ = ["SideConnection"]

CANCEL_TIMEOUT = 1.0
"""Seconds."""


class SideConnection:
    """The connection that `connect` opens, with what it is to run; patient for so many seconds."""

    def __init__(self, connect: Callable[[], Statements], patience: float) -> None:
        self._patience = patience
        self._opening: Future[Statements] = Future()
        threading.Thread(
            target=self._open, args=[connect], name="reactive_demo aside", daemon=True
        ).start()

    def close(self) -> None:
        """Hang up, now or once it is open; what is under way is cancelled."""
        self._opening.add_done_callback(_hang_up)

    def one(self, name: str, **parameters: Any) -> Generator[None, None, list[bytes | None]]:
        """Run a statement by name, and return the one row of its result, as text.

        Raises what `connect` raised, and psycopg.Error.
        """
        while not self._opening.done():
            yield
        there = self._opening.result()
        everything = {**there.table.parameters, **parameters}
        written_out = psycopg.ClientCursor(there.connection).mogrify(there[name], everything)
        pgconn = there.connection.pgconn
        pgconn.send_query(written_out.encode())
        results, deadline = [], monotonic() + self._patience
        while result := (yield from _next_result(pgconn, deadline)):
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result)
            results.append(result)
        (only,) = results
        return [only.get_value(0, column) for column in range(only.nfields)]

    def _open(self, connect: Callable[[], Statements]) -> None:
        try:
            self._opening.set_result(connect())
        except Exception as error:  # noqa: BLE001  (raised by the statement that waits for it)
            self._opening.set_exception(error)


def _next_result(
    pgconn: pq.abc.PGconn, deadline: float
) -> Generator[None, None, pq.abc.PGresult | None]:
    """Return the next result; None after the last one."""
    while pgconn.is_busy():
        if monotonic() > deadline:
            raise SilentError("the statement takes too long")
        yield
        pgconn.flush()
        pgconn.consume_input()
    return pgconn.get_result()


def _hang_up(opening: "Future[Statements]") -> None:
    if opening.exception() is None:
        connection = opening.result().connection
        if connection.info.transaction_status == pq.TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCEL_TIMEOUT)
        connection.close()
