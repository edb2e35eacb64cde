"""The directory of one embedded server, and the two locks that tell whether it is in use.

    users.lock    held shared by every user; an exclusive lock proves that no user is left
    keeper.lock   held exclusively by the supervisor for as long as it lives
    state.json    written by the supervisor: the server's URL, or why there is none
    server.json   which process the server is, so that an orphan can be recognised

The locks are `flock`s: the operating system releases them when their holder dies, even by
kill -9, which a list of process ids would miss.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactive_demo.errors import ConfigurationError

__all__ = ["ServerDir", "lock", "try_lock"]


@dataclass(frozen=True)
class ServerDir:
    """The paths of one server: its data, its log, its locks."""

    folder: Path

    @property
    def data(self) -> Path:
        """The server's own files."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The output of the server and its supervisor."""
        return self.folder / "server.log"

    @property
    def users(self) -> Path:
        """The lock that every user shares."""
        return self.folder / "users.lock"

    @property
    def supervisor(self) -> Path:
        """The lock that the supervisor holds."""
        return self.folder / "keeper.lock"  # its first name, which older versions look for

    def create(self) -> None:
        """Make the folder, accessible to its owner only. Raises ConfigurationError."""
        try:
            self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(self.users, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise ConfigurationError(
                f"The folder {self.folder} cannot be made ({error.strerror}): set "
                "REACTIVE_DEMO_HOME to a folder of your own."
            ) from None

    def read(self, name: str) -> dict[str, Any]:
        """Return the contents of `NAME.json`; empty if there is none."""
        try:
            return dict(json.loads((self.folder / f"{name}.json").read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def write(self, name: str, facts: dict[str, Any]) -> None:
        """Replace `NAME.json` atomically."""
        draft = self.folder / f".{name}.json"
        draft.write_text(json.dumps(facts))
        draft.replace(self.folder / f"{name}.json")

    def forget(self, name: str) -> None:
        """Remove `NAME.json`."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def last_words(self) -> str:
        """Return the last line of the log that reports a failure, for an error message."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()[-50:]
            failures = [line for line in lines if any(w in line for w in ("FATAL", "rror", "rong"))]
            if found := failures or lines:
                return found[-1].strip()
        return "nothing was logged"


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Take the lock on `path` if it is free; return its file descriptor, to be closed."""
    import fcntl  # noqa: PLC0415  (Windows has none, and no embedded servers)

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
    """Wait up to `timeout` seconds for the lock on `path`; return None if it stays taken."""
    deadline = time.monotonic() + timeout
    while (handle := try_lock(path, shared=shared)) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)
    return handle
