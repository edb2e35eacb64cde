"""As whom the servers run. PostgreSQL refuses root, so root lends it a smaller account.

An ordinary user runs the servers as himself. For root there are two ways:

- a user namespace, in which root's own files belong to `nobody`: nothing is created or changed;
- where namespaces are refused (many containers), the real `nobody`, who then owns the data.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactive_demo.errors import ReactiveDemoError

__all__ = ["RunAs"]

UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class RunAs:
    """How to start a program that must not be root."""

    prefix: tuple[str, ...] = ()
    """Words before the command."""
    owner: tuple[int, int] | None = None
    """User and group id to become, and to give the files to; None for one's own."""

    @classmethod
    def for_servers(cls) -> "RunAs":
        """Choose the account: one's own, a namespace, or `nobody`."""
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
        """Run a program to its end."""
        return subprocess.run(self._words(command), text=True, **self._options(options))  # noqa: PLW1510

    def start(
        self, command: Sequence[object], *, preexec_fn: Callable[[], None], **options: Any
    ) -> "subprocess.Popen[bytes]":
        """Start a program."""
        return subprocess.Popen(
            self._words(command),
            preexec_fn=preexec_fn,  # noqa: PLW1509  (the keeper has one thread)
            **self._options(options),
        )

    def own(self, folder: Path) -> None:
        """Give `folder` and what is in it to the account."""
        uid, gid = self.owner or (os.geteuid(), os.getegid())
        for path in (folder, *folder.rglob("*")):
            if path.lstat().st_uid != uid:
                os.chown(path, uid, gid, follow_symlinks=False)
        if not self.reaches(folder):
            raise ReactiveDemoError(
                f"PostgreSQL refuses to run as root, and user {UNPRIVILEGED}, who runs it "
                f"instead, cannot enter {folder}: set REACTIVE_DEMO_HOME to a folder that others "
                "may pass through, such as /var/lib/reactive_demo, or run as an ordinary user."
            )

    def reaches(self, folder: Path) -> bool:
        """Whether the account may enter `folder`."""
        if not (self.owner or self.prefix):
            return True
        return self.run(["ls", folder], capture_output=True, check=False).returncode == 0

    def _words(self, command: Sequence[object]) -> list[str]:
        return [*self.prefix, *map(str, command)]

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        # The locale is fixed: messages are read by programs, and macOS needs one.
        options.setdefault("env", {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"})
        options.setdefault("cwd", "/")
        if self.owner:
            uid, gid = self.owner
            options.update(user=uid, group=gid, extra_groups=[])
        return options
