"""The folder of one embedded server, and the two locks that say who is using it.

    users.lock    every user holds it shared; whoever gets it exclusively knows nobody is left
    keeper.lock   the keeper holds it exclusively for as long as it lives
    state.json    what the keeper says: the server's URL, or why there is none
    server.json   which process the server is, so that an orphan can be recognised

The locks are `flock`s: the operating system releases them when their holder dies, by
kill -9 too, which no list of process ids would notice.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactive_demo.errors import ReactiveDemoError

__all__ = ["ServerDir", "lock", "try_lock"]


@dataclass(frozen=True)
class ServerDir:
    """Where one server lives: its data, its log, its locks."""

    folder: Path

    @property
    def data(self) -> Path:
        """The server's own files."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server and its keeper print."""
        return self.folder / "server.log"

    @property
    def users(self) -> Path:
        """The lock that every user shares."""
        return self.folder / "users.lock"

    @property
    def keeper(self) -> Path:
        """The lock that the keeper holds."""
        return self.folder / "keeper.lock"

    def create(self) -> None:
        """Make the folder, for its owner alone."""
        try:
            self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(self.users, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise ReactiveDemoError(
                f"The folder {self.folder} cannot be made ({error.strerror}): set "
                "REACTIVE_DEMO_HOME to a folder of your own."
            ) from None

    def read(self, name: str) -> dict[str, Any]:
        """What `NAME.json` says; empty if there is none."""
        try:
            return dict(json.loads((self.folder / f"{name}.json").read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def write(self, name: str, facts: dict[str, Any]) -> None:
        """Replace `NAME.json` in one step."""
        draft = self.folder / f".{name}.json"
        draft.write_text(json.dumps(facts))
        draft.replace(self.folder / f"{name}.json")

    def forget(self, name: str) -> None:
        """Remove `NAME.json`."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def last_words(self) -> str:
        """The newest line of the log that tells of a failure, for an error message."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()[-50:]
            telling = [line for line in lines if any(w in line for w in ("FATAL", "rror", "rong"))]
            if found := telling or lines:
                return found[-1].strip()
        return "nothing was logged"


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Take the lock on `path` if it is free: its open file, to be closed to release it."""
    import fcntl  # noqa: PLC0415  (not on Windows, where one's own servers are used)

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


def lock(path: Path, *, shared: bool = False, timeout: float) -> int | None:
    """Wait up to `timeout` seconds for the lock on `path`; None if it stayed taken."""
    deadline = time.monotonic() + timeout
    while (handle := try_lock(path, shared=shared)) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)
    return handle
