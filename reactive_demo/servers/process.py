"""A running server: how it is started, awaited and stopped, also without its supervisor."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import redis

from reactive_demo.errors import ReactiveDemoError, UnavailableError
from reactive_demo.servers.engines import Server
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir

__all__ = ["READY_TIMEOUT", "SOCKET_FOLDER", "Running", "die_with_parent", "end", "end_orphan"]

READY_TIMEOUT = 60.0
"""Seconds a server may take to answer; recovery after a crash takes a while."""

PR_SET_PDEATHSIG = 1

SOCKET_FOLDER = "reactive_demo-"
"""How the name of each folder begins in which a server has its socket."""


class Running:
    """A server process, and the folder of its socket."""

    def __init__(self, server: Server, directory: ServerDir, account: RunAs) -> None:
        self.server = server
        self.directory = directory
        self.account = account
        self.url = ""
        self._socket_folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, socket_folder: Path) -> None:
        """Start the server and wait until it answers. Raises ReactiveDemoError.

        On Linux, the kernel stops it if this process dies, even by kill -9.
        """
        self._socket_folder = socket_folder
        self.url = self.server.url(socket_folder)
        with self.directory.log.open("ab") as log:
            self._process = self.account.start(
                self.server.command(socket_folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: die_with_parent(self.server.stop_signal),
            )
        remember(self.directory, self._process.pid, socket_folder)
        self._await_answer()

    @property
    def exited(self) -> bool:
        """Whether the process has ended."""
        return self._process is not None and self._process.poll() is not None

    @property
    def hidden(self) -> bool:
        """Whether its socket is gone, as if someone had cleared the temporary files."""
        folder = self._socket_folder
        return folder is not None and not (
            folder.is_dir() and any(path.is_socket() for path in folder.iterdir())
        )

    def stop(self) -> None:
        """Stop the server cleanly, within half a minute."""
        if self._process is not None and not self.exited:
            end(psutil.Process(self._process.pid), self.server.stop_signal)
            self._process.wait()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while True:
            try:
                return self.server.probe(self.url)
            except (psycopg.Error, redis.RedisError) as error:
                if self.exited:
                    raise ReactiveDemoError(
                        f"{self.server.name} did not start ({self.directory.last_words()}): see "
                        f"{self.directory.log}, or run `reactive-demo reset` to start over without "
                        "the data."
                    ) from None
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"{self.server.name} did not answer within {READY_TIMEOUT:.0f} s "
                        f"({error}): see {self.directory.log}."
                    ) from None
                time.sleep(0.01)


def remember(directory: ServerDir, pid: int, socket_folder: Path) -> None:
    """Record which process the server is, so that `end_orphan` can recognise it."""
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid).create_time()
        directory.write("server", {"pid": pid, "started": started, "socket": str(socket_folder)})


def end_orphan(directory: ServerDir, stop_signal: signal.Signals) -> None:
    """End a server whose supervisor was killed, and remove the folder of its socket."""
    for process in sorted(_orphans(directory), key=psutil.Process.create_time):
        end(process, stop_signal)
    socket_folder = Path(str(directory.read("server").get("socket")))
    if socket_folder.name.startswith(SOCKET_FOLDER):  # a damaged file may say anything
        shutil.rmtree(socket_folder, ignore_errors=True)
    directory.forget("server")


def _orphans(directory: ServerDir) -> Iterator[psutil.Process]:
    """Yield the processes of the server that still run.

    If nothing says which, those that work in its data: two servers there would destroy it.
    """
    match directory.read("server"):
        case {"pid": int(pid), "started": float(started)}:
            with suppress(psutil.NoSuchProcess, ValueError, OverflowError):
                process = psutil.Process(pid)
                if process.create_time() == started:
                    yield process
        case _:
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    known = process.name().startswith(("postgres", "valkey"))
                    if known and process.cwd() == str(directory.data):
                        yield process


def end(process: psutil.Process, stop_signal: signal.Signals) -> None:
    """Ask `process` to stop; kill it if it has not stopped after 20 s."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(stop_signal)
        try:
            process.wait(timeout=20)
        except psutil.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            with suppress(psutil.TimeoutExpired):
                process.wait(timeout=5)
            process.kill()


def die_with_parent(stop_signal: signal.Signals) -> None:
    """Leave the terminal's group; on Linux, be sent `stop_signal` when the supervisor dies."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(stop_signal))
