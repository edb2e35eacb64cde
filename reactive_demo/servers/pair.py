"""A primary and its streaming standby from the embedded binaries, to be killed and promoted.

    with PostgresPair() as pair:
        listener = Listener(ChangeTableFeed(pair.database_url), cache).start()
        pair.primary.kill()
        pair.promote()

Nothing here decides when to promote: that is the work of Patroni, repmgr or a managed service.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psutil
import psycopg

from reactive_demo.errors import ReactiveDemoError, UnavailableError, first_line
from reactive_demo.servers.engines import PostgreSQL
from reactive_demo.servers.libpq_environment import shielded
from reactive_demo.servers.process import READY_TIMEOUT, die_with_parent, end
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir, reason_in

__all__ = ["PostgresNode", "PostgresPair"]

USER = DATABASE = "reactive_demo"


class PostgresNode:
    """One server of the pair, which listens on a Unix socket in its own folder."""

    def __init__(self, name: str, folder: Path, account: RunAs, settings: Sequence[str]) -> None:
        self.name = name
        """`a` or `b`."""
        self._directory = ServerDir(folder)
        self._account = account
        self._settings = [word for setting in settings for word in ("-c", setting)]
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o700)
        account.own(folder)
        self._engine = PostgreSQL(self._directory, account)
        self.url = shielded(self._engine.url(folder))
        """A libpq URI of this server only."""

    @property
    def folder(self) -> Path:
        """Its folder, which holds its data, its log and its socket."""
        return self._directory.folder

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_writable(self) -> bool:
        """Whether it answers, and is not in recovery."""
        try:
            return self._ask("SELECT pg_is_in_recovery()") == "f"
        except psycopg.OperationalError:
            return False

    def start(self) -> None:
        """Start it with the data that it has, if any, unless it runs; wait until it answers."""
        if self.is_running:
            return
        self._engine.prepare()
        with self._directory.log.open("ab") as log:
            self._process = self._account.start(
                [*self._engine.command(self.folder), *self._settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: die_with_parent(self._engine.stop_signal),
            )
        deadline = time.monotonic() + READY_TIMEOUT
        while (refusal := self._refusal()) is not None:
            if not self.is_running:
                raise ReactiveDemoError(
                    f"PostgreSQL {self.name} did not start ({self._directory.last_words()}): "
                    f"see {self._directory.log}."
                )
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"PostgreSQL {self.name} did not answer within {READY_TIMEOUT:.0f} s "
                    f"({refusal}): see {self._directory.log}."
                )
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a crash does: nothing is written, nobody is told."""
        if self._process is not None:
            family = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            self._process.wait()
            psutil.wait_procs(family, timeout=READY_TIMEOUT)
            self._process = None

    def stop(self) -> None:
        """Stop it cleanly, if it runs."""
        if self._process is not None and self.is_running:
            end(psutil.Process(self._process.pid), self._engine.stop_signal)
            self._process.wait()
        self._process = None

    def promote(self) -> None:
        """Make a standby a primary; return once it takes writes."""
        if self._ask("SELECT pg_promote(true, 60)") != "t":
            raise UnavailableError(
                f"PostgreSQL {self.name} was not promoted within 60 s: see {self._directory.log}."
            )

    def clone(self, primary: "PostgresNode") -> None:
        """Replace its data by a copy of the primary's, and start it as the primary's standby."""
        self.stop()
        shutil.rmtree(self._directory.data, ignore_errors=True)
        self._directory.data.mkdir(mode=0o700)
        self._account.own(self._directory.data)
        program = Path(str(self._engine.command(self.folder)[0])).with_name("pg_basebackup")
        source = f"host='{primary.folder}' port=5432 user={USER} application_name={self.name}"
        words = [program, "-d", source, "-D", self._directory.data, "-R", "-c", "fast", "-N"]
        made = self._account.run(words, capture_output=True, check=False)
        if made.returncode != 0:
            raise ReactiveDemoError(
                f"pg_basebackup failed ({reason_in(made.stderr.splitlines())}): mend that, then "
                "try again."
            )
        self.start()

    def await_standby(self, standby: "PostgresNode", *, synchronous: bool = False) -> None:
        """Wait until `standby` streams, and with `synchronous` until each commit waits for it."""
        wanted = "sync" if synchronous else "async"
        deadline = time.monotonic() + READY_TIMEOUT
        while self._ask(STANDBY, standby.name) not in (wanted, "sync"):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"PostgreSQL {standby.name} does not follow {self.name} after "
                    f"{READY_TIMEOUT:.0f} s: see {standby.folder}."
                )
            time.sleep(0.02)

    def confirm_commits_by(self, standby: "PostgresNode") -> None:
        """Have each commit wait until `standby` has written it down."""
        self._ask(f"ALTER SYSTEM SET synchronous_standby_names = '{standby.name}'")
        self._ask("SELECT pg_reload_conf()")
        self.await_standby(standby, synchronous=True)

    def _refusal(self) -> str | None:
        """Return why it does not answer; None if it does."""
        try:
            self._engine.probe(self.url)
        except psycopg.Error as error:
            return first_line(error)
        return None

    def _ask(self, statement: str, *values: str) -> str | None:
        """Return the first field of the answer as text."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            result = connection.pgconn.exec_params(
                statement.encode(), [value.encode() for value in values] or None
            )
            if not result.ntuples:
                return None
            return (result.get_value(0, 0) or b"").decode()

    def __repr__(self) -> str:
        return f"PostgresNode({self.name})"


STANDBY = """
    SELECT sync_state FROM pg_stat_replication
    WHERE application_name = $1 AND state = 'streaming'
"""


REMOVE = """
import pathlib, shutil, sys, time
sys.stdin.read()
folder, deadline = pathlib.Path(sys.argv[1]), time.monotonic() + 30
while folder.exists() and time.monotonic() < deadline:
    shutil.rmtree(folder, ignore_errors=True)
    time.sleep(0.1)
"""
"""Removes the folder once its standard input ends, which it does even if this process is killed."""


class PostgresPair:
    """A primary and a standby in a temporary folder, which goes when they stop.

    On Linux all of it goes with this process too, however that ends.

    With `synchronous`, each commit waits until the standby has it, so a promotion loses none.
    `settings` are for both servers, such as `work_mem=1MB`.
    """

    def __init__(self, *, synchronous: bool = False, settings: Sequence[str] = ()) -> None:
        self._synchronous = synchronous
        self._account = RunAs.for_servers()
        self.folder = _folder()
        """Short, and others may pass through it."""
        self._remover = subprocess.Popen(
            [sys.executable, "-c", REMOVE, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal must not reach it
        )
        self.nodes = tuple(
            PostgresNode(name, self.folder / name, self._account, settings) for name in "ab"
        )
        """Both servers, in the order of their names."""
        self.primary, self.standby = self.nodes

    @property
    def database_url(self) -> str:
        """A libpq URI with both hosts."""
        hosts = ",".join(quote(str(node.folder), safe="") for node in self.nodes)
        url = shielded(f"postgresql://{USER}@/{DATABASE}?host={hosts}&port=5432")
        return f"{url}&target_session_attrs=read-write"

    def start(self) -> Self:
        """Start both, and wait until the standby streams."""
        try:
            self.primary.start()
            self.follow()
        except BaseException:
            self.stop()
            raise
        return self

    def promote(self) -> None:
        """Make the standby the primary, whatever has become of that."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def follow(self) -> None:
        """Make the other server a standby of the primary, with a fresh copy of its data."""
        self.standby.clone(self.primary)
        self.primary.await_standby(self.standby)
        if self._synchronous:
            self.primary.confirm_commits_by(self.standby)

    def stop(self) -> None:
        """Stop both and remove their data; calling it twice is harmless."""
        for node in self.nodes:
            node.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._remover.communicate()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"PostgresPair(primary {self.primary.name}, standby {self.standby.name})"


def _folder() -> Path:
    """Make a folder with a short path that the servers' account may pass through."""
    parent = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108  (mkdtemp is safe there)
    folder = Path(tempfile.mkdtemp(prefix="reactive_demo-", dir=parent))
    folder.chmod(0o711)
    return folder
