"""The account that runs the servers: PostgreSQL refuses to run as root.

An ordinary user runs the servers under their own account. Root has two ways:

- a user namespace in which root's files belong to `nobody`: no file changes its owner;
- the real `nobody`, which then owns the data, where namespaces are refused (many containers).
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactive_demo.errors import ConfigurationError

__all__ = ["RunAs"]

UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class RunAs:
    """A way to start a program that must not be root."""

    prefix: tuple[str, ...] = ()
    """Words before the command."""
    owner: tuple[int, int] | None = None
    """User and group id to switch to, which also own the files; None to stay as it is."""

    @classmethod
    def for_servers(cls) -> "RunAs":
        """Return the current account, a namespace or `nobody`, whichever works first."""
        if os.geteuid() != 0:
            return cls()
        nobody = pwd.getpwnam(UNPRIVILEGED)
        if unshare := shutil.which("unshare"):
            ids = (f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}")
            prefix = (unshare, "--user", *ids)
            probe = subprocess.run([*prefix, "true"], capture_output=True, check=False)
            if probe.returncode == 0:
                return cls(prefix=prefix)
        return cls(owner=(nobody.pw_uid, nobody.pw_gid))

    def run(self, command: Sequence[object], **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a program and wait for it."""
        return subprocess.run(self._words(command), text=True, **self._options(options))  # noqa: PLW1510

    def start(
        self, command: Sequence[object], *, preexec_fn: Callable[[], None], **options: Any
    ) -> "subprocess.Popen[bytes]":
        """Start a program."""
        return subprocess.Popen(
            self._words(command),
            preexec_fn=preexec_fn,  # noqa: PLW1509  (the supervisor has one thread)
            **self._options(options),
        )

    def own(self, folder: Path) -> None:
        """Make the account the owner of `folder` and everything in it.

        Raises ConfigurationError if the account cannot enter it.
        """
        uid, gid = self.owner or (os.geteuid(), os.getegid())
        for path in (folder, *folder.rglob("*")):
            if path.lstat().st_uid != uid:
                os.chown(path, uid, gid, follow_symlinks=False)
        if not self.reaches(folder):
            raise ConfigurationError(
                f"PostgreSQL refuses to run as root, and the user {UNPRIVILEGED}, which runs it "
                f"instead, cannot enter {folder}: set REACTIVE_DEMO_HOME to a folder that others "
                "may pass through, such as /var/lib/reactive_demo, or run as an ordinary user."
            )

    def reaches(self, folder: Path) -> bool:
        """Return whether the account may enter `folder`."""
        if not (self.owner or self.prefix):
            return True
        return self.run(["ls", folder], capture_output=True, check=False).returncode == 0

    def _words(self, command: Sequence[object]) -> list[str]:
        return [*self.prefix, *map(str, command)]

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        # A fixed locale: this package reads the messages, and macOS needs one.
        options.setdefault("env", {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"})
        options.setdefault("cwd", "/")
        if self.owner:
            uid, gid = self.owner
            options.update(user=uid, group=gid, extra_groups=[])
        return options
