"""A replication connection: makes a slot, and streams what it decodes from the log.

psycopg has no interface for the protocol beyond libpq's, so this goes through `pgconn`. The bytes
are described in PostgreSQL's manual, "Streaming Replication Protocol".
"""

import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import psycopg
from psycopg import pq

from reactive_demo.feeds.pgoutput import POSTGRES_EPOCH
from reactive_demo.feeds.table import SETTINGS
from reactive_demo.options import Options
from reactive_demo.postgres import open_postgres
from reactive_demo.waiting import StopEvent

__all__ = ["Keepalive", "Replication", "SlotMade", "lsn_number"]

FIRST_NUDGE, LAST_NUDGE = 0.01, 1.0
"""Seconds of silence after which the server is told where we are, first and in the end. Whatever it
hears makes it look for more. It would sleep on otherwise: in PostgreSQL 16 and later, a commit that
falls between its last look and its sleep does not wake it, because `WalSndWait` enters the queue of
those that are to be woken only after the look. (Seen with PostgreSQL 18, once in 3,000 writes.)"""

WAL_DATA = ord("w")
"""What a message of pgoutput is wrapped in begins with; positions and the server's clock follow."""

PROMISE = 1.0
"""Seconds after which progress is reported to the server, at the latest."""


class SlotMade(NamedTuple):
    """A new slot."""

    lsn: int
    """The slot streams the transactions that commit after this position."""
    snapshot: str
    """The others are in this snapshot, which lives until the next command."""


class Keepalive(NamedTuple):
    """A sign of life from the server."""

    end: int
    """How far it has decoded the log."""
    wants_reply: bool


class Replication:
    """A connection that streams one slot. Raises psycopg.Error as any connection does."""

    def __init__(self, database_url: str, table: str, options: Options) -> None:
        self.connection = open_postgres(
            database_url,
            f"stream {table}",
            connect_timeout=max(1, round(options.connect_timeout)),
            silence_timeout=options.silence_timeout,
            replication="database",
            cursor_factory=psycopg.ClientCursor,  # the protocol has no parameters
        )
        self._pgconn = self.connection.pgconn
        self._is_creating = False
        self._confirmed = 0
        self._reported_at = 0.0
        try:
            self.connection.execute(SETTINGS)  # values come as text, as these have it
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close; a server that is still making a slot would go on, so that is cancelled."""
        if self._is_creating:
            with suppress(psycopg.Error):
                self.connection.cancel_safe(timeout=1.0)
        self.connection.close()

    @property
    def pid(self) -> int:
        """The process that serves this connection."""
        return self.connection.info.backend_pid

    # The slot

    def create_slot(
        self, name: str, stopping: StopEvent, pause: float
    ) -> Iterator[SlotMade | None]:
        """Make a slot and export a snapshot; yield None each `pause` seconds until it is there.

        The server waits for every transaction that writes at that moment.
        """
        create = f"CREATE_REPLICATION_SLOT {name} LOGICAL pgoutput (SNAPSHOT 'export')"
        self._pgconn.send_query(create.encode())
        self._is_creating = True
        while not stopping.is_set():
            self._pgconn.flush()
            self._pgconn.consume_input()
            if not self._pgconn.is_busy():
                result = self._result()
                self._is_creating = False
                lsn, snapshot = ((result.get_value(0, n) or b"").decode() for n in (1, 2))
                yield SlotMade(lsn_number(lsn), snapshot)
                return
            stopping.wait_for_data(self._pgconn.socket, pause)
            if self._pgconn.is_busy():
                yield None

    def start(self, slot: str, publication: str, lsn: int, stopping: StopEvent) -> None:
        """Begin to stream the transactions that commit after `lsn`, unless `stopping` is set."""
        start = (  # both names consist of letters, digits and underscores
            f"START_REPLICATION SLOT {slot} LOGICAL {lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
            f" (proto_version '1', publication_names '\"{publication}\"')"
        )
        self._pgconn.send_query(start.encode())
        self._pgconn.flush()
        while self._pgconn.is_busy():  # libpq would wait too, and hold up all other threads
            if stopping.is_set():
                return
            stopping.wait_for_data(self._pgconn.socket, 1.0)
            self._pgconn.consume_input()
        self._result()
        self._confirmed = lsn

    # The stream

    def receive(self, most: int) -> Iterator[bytes | Keepalive]:
        """Yield what is there now, at most so many messages."""
        has_looked = False
        while most > 0:
            length, data = self._pgconn.get_copy_data(1)
            if length > 0:
                has_looked = False
                most -= 1
                yield bytes(data[25:]) if data[0] == WAL_DATA else _keepalive(data)
            elif length < 0:
                self._result()
                raise psycopg.OperationalError("the server ended the stream")
            elif has_looked:
                return
            else:
                self._pgconn.consume_input()
                has_looked = True

    def wait(self, stopping: StopEvent, timeout: float) -> None:
        """Wait for more, at most `timeout` seconds; have the server look for it now and then."""
        deadline, nudge = time.monotonic() + timeout, FIRST_NUDGE
        while not stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            if stopping.wait_for_data(self._pgconn.socket, min(nudge, left)):
                return
            self.confirm(0, at_once=True)
            nudge = min(4 * nudge, LAST_NUDGE)

    def confirm(self, lsn: int, *, at_once: bool = False) -> None:
        """Tell the server, soon or `at_once`, that it may forget the log up to there."""
        now = time.monotonic()
        self._confirmed = max(self._confirmed, lsn)
        if at_once or now - self._reported_at >= PROMISE:
            self._reported_at = now
            moment = int((time.time() - POSTGRES_EPOCH) * 1e6)
            positions = (self._confirmed, self._confirmed, self._confirmed)
            self._pgconn.put_copy_data(b"r" + struct.pack(">QQQqB", *positions, moment, 0))
            self._pgconn.flush()

    def _result(self) -> pq.abc.PGresult:
        """Return the one result of a command; raise the server's error."""
        result = None
        while (more := self._pgconn.get_result()) is not None:
            result = result or more
            if more.status == pq.ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(more)
            if more.status == pq.ExecStatus.COPY_BOTH:
                break  # it says so for as long as it streams
        if result is None:
            raise psycopg.OperationalError("the server closed the connection")
        return result


def lsn_number(text: str) -> int:
    """Read a position in the log as PostgreSQL prints it, such as `16/B374D848`."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def _keepalive(data: memoryview | bytes) -> Keepalive:
    end, wants_reply = struct.unpack_from(">xQ8xB", data)
    return Keepalive(end, bool(wants_reply))
