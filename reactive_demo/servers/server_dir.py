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
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactive_demo.errors import ConfigurationError

__all__ = ["ServerDir", "lock", "reason_in", "try_lock"]

FULL = 1_000_000
"""Bytes of free disk below which a server cannot start."""


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
        """Return the contents of `NAME.json`; empty if there is none, or it is damaged."""
        try:
            facts = json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def write(self, name: str, facts: dict[str, Any]) -> None:
        """Replace `NAME.json` atomically."""
        draft = self.folder / f".{name}.json"
        draft.write_text(json.dumps(facts))
        draft.replace(self.folder / f"{name}.json")

    def forget(self, name: str) -> None:
        """Remove `NAME.json`."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def last_words(self) -> str:
        """Return the line of the log that tells best why the server failed."""
        lines = []
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()[-50:]
            if shutil.disk_usage(self.folder).free < FULL:
                lines += ["No space left on device"]  # then the log may lack it
        return reason_in(lines)


def reason_in(lines: Sequence[str]) -> str:
    """Return the last line that reports a full disk or, if none does, a failure, or the last."""
    for words in (("No space left", "quota exceeded"), ("FATAL", "PANIC", "rror", "rong"), ("",)):
        for line in reversed(lines):
            if line.strip() and any(word in line for word in words):
                return line.strip()
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
