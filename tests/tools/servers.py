"""What a test may stop, kill, freeze and restore: a PostgreSQL, the way to it, a listener."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import psutil
import psycopg

from reactive_demo import Cache
from reactive_demo.servers.engines import PostgreSQL
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir
from tools.databases import terminate
from tools.waiting import until


class PostgresServer:
    """A PostgreSQL of the test's own, with `settings` of its own."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self._settings = [word for setting in settings for word in ("-c", setting)]
        self.folder = folder
        self._account = RunAs.for_servers()
        self._place = ServerDir(folder)
        self._server = PostgreSQL(self._place, self._account)
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = folder / "s"
        self._sockets.mkdir(exist_ok=True)
        self._account.own(self._sockets)
        self.url = self._server.url(self._sockets)

    @property
    def data(self) -> Path:
        return self._place.data

    @property
    def sockets(self) -> Path:
        return self._sockets

    def start(self) -> None:
        self._server.prepare()
        with (self.folder / "log").open("ab") as log:
            self._process = self._account.start(
                [*self._server.command(self._sockets), *self._settings],
                preexec_fn=lambda: None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until("PostgreSQL answers", self._answers, timeout=30)

    def stop(self, by: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is a fast shutdown, SIGQUIT an immediate one, SIGKILL a crash."""
        if self._process:
            family = psutil.Process(self._process.pid).children(recursive=True)
            self._process.send_signal(by)
            self._process.wait(timeout=30)
            self._process = None
            psutil.wait_procs(family, timeout=30)

    def backup(self, to: Path) -> None:
        """A base backup that can be started as it is."""
        to.mkdir(mode=0o700)
        self._account.own(to)
        program = Path(self._server.command(self._sockets)[0]).with_name("pg_basebackup")
        words = [program, "-h", self._sockets, "-U", "reactive_demo", "-D", to, "-c", "fast"]
        self._account.run(words, check=True, capture_output=True)

    def standby(self, folder: Path) -> "PostgresServer":
        """A server that follows this one until it is promoted; start it."""
        folder.mkdir(mode=0o711)
        other = PostgresServer(folder, f"primary_conninfo=host={self._sockets} user=reactive_demo")
        self.backup(other.data)
        (other.data / "standby.signal").touch()
        self._account.own(other.data)
        return other

    def promote(self) -> None:
        """Have a standby take writes, on a timeline of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def restore(self, backup: Path, *, recover: bool) -> None:
        """Put a backup in the place of the data; `recover` begins a new timeline."""
        self.data.rename(self.folder / "lost")
        backup.rename(self.data)
        if recover:
            (self.data / "recovery.signal").touch()
            with (self.data / "postgresql.auto.conf").open("a") as settings:
                settings.write("restore_command = 'false'\n")
        self._account.own(self.data)

    def _answers(self) -> bool:
        try:
            self._server.probe(self.url)
            with psycopg.connect(self.url) as connection:
                recovers = connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]
                return not recovers or (self.data / "standby.signal").exists()
        except psycopg.OperationalError:
            return False


@contextmanager
def hanging_up() -> Iterator[tuple[str, list[object]]]:
    """A server that hangs up on everyone: its address, and who has called."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                client, caller = server.accept()
                client.close()
                if over.is_set():
                    return
                callers.append(caller)

        over = threading.Event()
        thread = threading.Thread(target=hang_up)
        thread.start()
        host, port = server.getsockname()
        yield f"{host}:{port}", callers
        over.set()
        socket.create_connection((host, port)).close()
        thread.join(10)


class Door:
    """A path to the embedded PostgreSQL that can be shut and opened again; it is shut at first."""

    def __init__(self, database_url: str, folder: Path) -> None:
        address, _, host = database_url.partition("?host=")
        self._servers = Path(unquote(host))
        self._link = folder / "door"
        self._direct_url = database_url
        self.url = f"{address}?host={quote(str(self._link), safe='')}"

    def open(self) -> None:
        self._link.symlink_to(self._servers)

    def lead_to(self, sockets: Path) -> None:
        """Lead to another server from now on."""
        self._link.unlink()
        self._link.symlink_to(sockets)

    def shut(self) -> None:
        """Let no connection in, and end those that are there."""
        self._link.unlink()
        with psycopg.connect(self._direct_url, autocommit=True) as connection:
            terminate(connection, "reactive_demo")


LISTEN = """
import sys
from reactive_demo.options import Options
from reactive_demo.tools.services import listen
_, database_url, redis_url, heartbeat = sys.argv
listen(database_url, redis_url, "profile", options=Options(heartbeat=float(heartbeat)))
"""


class Process:
    """A listener in a process of its own, as `reactive-demo listen` runs it."""

    def __init__(self, database_url: str, cache: Cache, heartbeat: float = 2.0) -> None:
        words = [sys.executable, "-c", LISTEN, database_url, cache.redis_url, str(heartbeat)]
        self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        self.words: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, words: str, timeout: float = 20) -> None:
        until(f"it says {words}", lambda: words in "".join(self.words[-1:]), timeout)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)

    def end(self) -> int:
        """Ask it to stop; its exit status."""
        self.wake()
        self._process.terminate()
        self._reading.join(10)
        return self._process.wait(timeout=10)

    def _read(self) -> None:
        for line in self._process.stderr:
            self.words.append(line.strip())
        self._process.stderr.close()
