"""The keeper: a small process that owns one server, for as long as anyone uses it.

Whoever needs the server first starts the keeper and hands it the keeper's lock; later ones find
the lock taken and join. The keeper stops the server, and itself, a few seconds after the last
user is gone. It restarts a server that crashed.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.servers.engines import SERVERS
from reactive_demo.servers.process import Running, end_orphan
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir, try_lock

__all__ = ["spawn"]

GRACE = 3.0
"""Seconds without users after which the server stops: a kernel restart takes less."""

POLL = 0.25
"""Seconds between two looks at the users' lock."""


def spawn(name: str, place: ServerDir, lock: int) -> "subprocess.Popen[bytes]":
    """Start the keeper of server `name`; it inherits `lock`, the keeper's lock."""
    package_parent = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    with place.log.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, name, str(place.folder), str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [package_parent, known])),
            },
            pass_fds=[lock],
            start_new_session=True,  # a Ctrl-C in the terminal is not for the keeper
        )


def keep(name: str, place: ServerDir) -> None:
    """Run server `name` until nobody uses it."""
    place.forget("state")
    end_orphan(place, SERVERS[name].stop_signal)
    account = RunAs.for_servers()
    _give(place, account)
    server = SERVERS[name](place, account)
    server.prepare()
    socket_folder = _socket_folder(account)
    running = Running(server, place, account)
    try:
        running.start(socket_folder)
        place.write("state", {"url": running.url})
        while not _unused(place):
            if running.exited:
                place.forget("state")  # who joins now waits
                time.sleep(1)
                running.start(socket_folder)
                place.write("state", {"url": running.url})
    finally:
        place.forget("state")
        running.stop()
        shutil.rmtree(socket_folder, ignore_errors=True)
        place.forget("server")


def _unused(place: ServerDir) -> bool:
    """Whether nobody holds the users' lock for the time of grace; if so, it is kept for good."""
    deadline = time.monotonic() + GRACE
    while (handle := try_lock(place.users)) is not None:
        if time.monotonic() > deadline:
            return True  # still held: who comes now waits until the keeper has exited
        os.close(handle)
        time.sleep(POLL)
    time.sleep(POLL)
    return False


def _give(place: ServerDir, account: RunAs) -> None:
    """Let the account into the server's folder, and into its parent if that holds no more."""
    home = place.folder.parent
    if account.owner and {entry.name for entry in home.iterdir()} <= set(SERVERS):
        os.chown(home, *account.owner)
    account.own(place.folder)


def _socket_folder(account: RunAs) -> Path:
    """Make a folder with a short path: a socket's may have about 100 bytes."""
    parent = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108  (mkdtemp is safe there)
    folder = Path(tempfile.mkdtemp(prefix="reactive_demo-", dir=parent))
    account.own(folder)
    return folder


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    """Keep the server named on the command line; what goes wrong is told to the users."""
    name, folder, _lock = sys.argv[1:]  # the lock stays open, and so held, until this exits
    place = ServerDir(Path(folder))
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)
    try:
        keep(name, place)
    except ReactiveDemoError as error:
        place.write("state", {"error": str(error)})
    except Exception as error:
        traceback.print_exc()
        place.write("state", {"error": f"{error}: see {place.log}."})
        raise


if __name__ == "__main__":
    main()
