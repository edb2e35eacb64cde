"""The supervisor: a small process that owns one server for as long as anyone uses it.

The first user of the server starts the supervisor and hands it the supervisor's lock; later users
find the lock taken, and join. The supervisor restarts a server that crashed. A few seconds after
the last user is gone, it stops the server and exits.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.servers.engines import SERVERS
from reactive_demo.servers.process import SOCKET_FOLDER, Running, end_orphan
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir, try_lock

__all__ = ["spawn"]

GRACE = 3.0
"""Seconds without users before the server stops: longer than a kernel restart takes."""

POLL = 0.25
"""Seconds between two attempts to take the users' lock."""


def spawn(name: str, directory: ServerDir, lock: int) -> "subprocess.Popen[bytes]":
    """Start the supervisor of server `name`, which inherits `lock`, the supervisor's lock."""
    package_parent = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    with directory.log.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, name, str(directory.folder), str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={  # without libpq's variables, which are meant for other servers
                **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
                "PYTHONPATH": os.pathsep.join(filter(None, [package_parent, known])),
            },
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C in the terminal must not reach it
        )


def supervise(name: str, directory: ServerDir) -> None:
    """Run server `name` until it has no users."""
    directory.forget("state")
    end_orphan(directory, SERVERS[name].stop_signal)
    account = RunAs.for_servers()
    _give(directory, account)
    server = SERVERS[name](directory, account)
    server.prepare()
    socket_folder = _socket_folder(account)
    running = Running(server, directory, account)
    try:
        running.start(socket_folder)
        directory.write("state", {"url": running.url})
        while not _unused(directory):
            if running.exited or running.hidden:
                directory.forget("state")  # new users wait
                running.stop()
                time.sleep(1)
                if not socket_folder.is_dir():  # the address stays what users know
                    socket_folder.mkdir(mode=0o700)
                    account.own(socket_folder)
                running.start(socket_folder)
            if directory.read("state") != {"url": running.url}:  # now, or it was damaged
                directory.write("state", {"url": running.url})
    finally:
        directory.forget("state")
        running.stop()
        shutil.rmtree(socket_folder, ignore_errors=True)
        directory.forget("server")


def _unused(directory: ServerDir) -> bool:
    """Return whether the users' lock stays free for the grace period; if so, keep it for good."""
    deadline = time.monotonic() + GRACE
    while (handle := try_lock(directory.users)) is not None:
        if time.monotonic() > deadline:
            return True  # and keep it: new users wait until this process has exited
        os.close(handle)
        time.sleep(POLL)
    time.sleep(POLL)
    return False


def _give(directory: ServerDir, account: RunAs) -> None:
    """Give the account the server's folder, and the parent if that contains nothing else."""
    home = directory.folder.parent
    if account.owner and {entry.name for entry in home.iterdir()} <= set(SERVERS):
        os.chown(home, *account.owner)
    account.own(directory.folder)


def _socket_folder(account: RunAs) -> Path:
    """Make a folder with a short path: that of a socket is limited to about 100 bytes."""
    parent = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108  (mkdtemp is safe there)
    folder = Path(tempfile.mkdtemp(prefix=SOCKET_FOLDER, dir=parent))
    account.own(folder)
    return folder


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    """Supervise the server named on the command line; report to its users what goes wrong."""
    name, folder, _lock = sys.argv[1:]  # open, and so held, until this process exits
    directory = ServerDir(Path(folder))
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)
    try:
        supervise(name, directory)
    except ReactiveDemoError as error:
        directory.write("state", {"error": str(error)})
    except Exception as error:
        traceback.print_exc()
        with suppress(OSError):  # the disk may be full
            directory.write("state", {"error": f"{error}: see {directory.log}."})
        raise


if __name__ == "__main__":
    main()
