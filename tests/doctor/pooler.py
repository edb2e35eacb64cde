"""A connection pooler in transaction mode: small, but a real one between real sessions.

Each transaction of a client gets the server session that has rested longest, and gives it back
when it ends, as PgBouncer does with `pool_mode = transaction`. Messages are relayed as they are.
"""

import queue
import socket
import struct
import threading
from pathlib import Path
from typing import Self

from psycopg.conninfo import conninfo_to_dict

IDLE = b"I"
FAKE_PID = 4_000_000
"""What clients are told: a pooler's process ids are its own."""


class Pooler:
    """Listens on a TCP port in front of a PostgreSQL that listens on a Unix socket."""

    def __init__(self, database_url: str, sessions: int = 3) -> None:
        parts = conninfo_to_dict(database_url)
        database = str(parts["dbname"])
        self._idle: queue.Queue[socket.socket] = queue.Queue()
        self._greeting = b""
        for _ in range(sessions):
            self._idle.put(self._log_in(Path(str(parts["host"])) / ".s.PGSQL.5432", database))
        self._door = socket.create_server(("127.0.0.1", 0))
        port = self._door.getsockname()[1]
        self.url = f"postgresql://reactive_demo@127.0.0.1:{port}/{database}?sslmode=disable"
        threading.Thread(target=self._admit, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        while not self._idle.empty():
            self._idle.get().close()

    def _log_in(self, path: Path, database: str) -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(path))
        words = f"user\0reactive_demo\0database\0{database}\0\0".encode()
        server.sendall(struct.pack("!ii", 8 + len(words), 3 << 16) + words)
        greeting = b""
        while (message := read(server))[:1] != b"Z":
            if message[:1] in b"RS":  # "authenticated", and the server's parameters
                greeting += message
        self._greeting = greeting
        return server

    def _admit(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            while (request := read_untyped(client)) and request[4:8] != struct.pack("!i", 3 << 16):
                client.sendall(b"N")  # neither TLS nor GSS
            key = b"K" + struct.pack("!iii", 12, FAKE_PID, 0)
            client.sendall(self._greeting + key + b"Z" + struct.pack("!i", 5) + IDLE)
            while (message := read(client)) and message[:1] != b"X":
                self._transaction(client, message)

    def _transaction(self, client: socket.socket, message: bytes) -> None:
        """Lend a session until it is idle again."""
        server = self._idle.get()
        try:
            while message:
                server.sendall(message)
                if message[:1] in b"QS":  # a query, or the end of an extended one
                    while (answer := read(server)) and answer[:1] != b"Z":
                        client.sendall(answer)
                    client.sendall(answer)
                    if answer[5:] == IDLE:
                        return
                message = read(client)
        finally:
            self._idle.put(server)


def read(peer: socket.socket) -> bytes:
    """One message, with its type; empty at the end."""
    kind = peer.recv(1)
    return kind + read_untyped(peer) if kind else b""


def read_untyped(peer: socket.socket) -> bytes:
    """One message, length first; empty at the end."""
    head = exactly(peer, 4)
    return head + exactly(peer, struct.unpack("!i", head)[0] - 4) if head else b""


def exactly(peer: socket.socket, count: int) -> bytes:
    """`count` bytes; empty at the end."""
    data = b""
    while len(data) < count:
        piece = peer.recv(count - len(data))
        if not piece:
            return b""
        data += piece
    return data
