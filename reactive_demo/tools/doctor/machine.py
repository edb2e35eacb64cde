"""What the doctor examines on this machine: Python, packages, disk, sockets, programs."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from reactive_demo.settings import CHECKOUT
from reactive_demo.tools.doctor.report import Line, State

__all__ = ["disk", "packages", "programs", "python", "socket_path"]

OLDEST_PYTHON = (3, 11)

EXTRAS = ("embedded", "notebook", "web", "brokers")
"""The extras that the package uses; the others are combinations, or for tests."""

LOW_DISK = 500_000_000
"""Bytes of free disk below which the doctor warns; an empty database takes 40 MB, its log more."""

LONGEST_SOCKET = 103
"""The longest path of a Unix socket on macOS, in bytes; Linux allows four more."""

PROGRAMS = {
    "Chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "redis-server": ("redis-server",),
}
"""Programs that some tests need, and their names."""


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Line:
    """Return whether Python is new enough."""
    shown = ".".join(map(str, version))
    if version < OLDEST_PYTHON:
        words = f"{shown}, and 3.11 or newer is needed: `make clean lab PYTHON=python3.13`."
        return Line("Python", State.MEND, words)
    return Line("Python", State.OK, shown, sys.executable)


def packages(
    wanted: Iterable[str] | None = None,
    installed: Mapping[str, str] | None = None,
    tested: Mapping[str, str] | None = None,
) -> list[Line]:
    """Return one line for all packages in their tested versions, and one for each other package.

    `wanted` are pyproject's requirements; the versions are by name.
    """
    wanted = list(_wanted() if wanted is None else wanted)
    if not wanted:
        words = "reactive-demo is on the path but not installed: run `make lab`."
        return [Line("packages", State.WARNING, words)]
    installed = _installed(wanted) if installed is None else installed
    tested = _tested() if tested is None else tested
    odd = [line for one in wanted if (line := _odd(one, installed, tested))]
    good = [name for name in map(_name, wanted) if name not in {line.subject for line in odd}]
    if not good:
        return odd
    listed = ", ".join(f"{name} {installed[name]}" for name in good)
    return [Line("packages", State.OK, listed + (": as tested" if tested else "")), *odd]


def disk(subject: str, folder: Path, free: Callable[[Path], int] | None = None) -> Line:
    """Return whether there is room in `folder`, which may not exist yet."""
    existing = next(one for one in (folder, *folder.parents) if os.access(one, os.F_OK))
    left = (free or _free)(existing)
    if left < LOW_DISK:
        words = f"only {left / 1e6:.0f} MB are free: free some space."
        return Line(subject, State.WARNING, words, str(folder))
    return Line(subject, State.OK, "enough is free", f"{left / 1e9:.0f} GB at {folder}")


def socket_path(parent: Path | None = None) -> Line:
    """Return whether the paths of the embedded servers' sockets are short enough."""
    fallback = Path("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir())  # noqa: S108
    path = (parent or fallback) / "reactive_demo-12345678" / ".s.PGSQL.5432"
    length = len(os.fsencode(path))
    if length > LONGEST_SOCKET:
        words = (
            f"the servers' sockets would have paths of {length} bytes, and the limit is "
            f"{LONGEST_SOCKET}: make /tmp writable, or set TMPDIR to a folder with a short path."
        )
        return Line("socket path", State.MEND, words, str(path.parent.parent))
    return Line("socket path", State.OK, "short enough", str(path.parent.parent))


def programs(path: str | None = None) -> Iterator[Line]:
    """Yield a line for each program on `path` that only tests need."""
    for subject, names in PROGRAMS.items():
        found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
        words = "found" if found else "not found; only tests need it, and skip without it"
        yield Line(subject, State.OK, words, found or "")


def _odd(requirement: str, installed: Mapping[str, str], tested: Mapping[str, str]) -> Line | None:
    """Return a line if a package is missing or has an unexpected version."""
    name = _name(requirement)
    remedy = "`make clean lab`" if tested else f"`pip install '{requirement}'`"
    version = installed.get(name)
    if version is None:
        return Line(name, State.MEND, f"not installed: {remedy}.")
    if name == "ipykernel" and _numbers(version)[:2] == (7, 0):
        words = f"{version} loses widget updates from threads: {remedy}."
        return Line(name, State.MEND, words)
    if not _fits(version, requirement):
        return Line(name, State.MEND, f"{version}, and {requirement} is needed: {remedy}.")
    if name in tested and tested[name] != version:
        words = f"{version}, and {tested[name]} was tested: {remedy} installs that version."
        return Line(name, State.WARNING, words)
    return None


def _wanted() -> list[str]:
    """Return the requirements of this package and of its installed extras.

    An extra counts as installed if its first requirement is: some others come with Jupyter, too.
    """
    try:
        lines = metadata.requires("reactive-demo") or []
    except metadata.PackageNotFoundError:
        return []
    of_extras: dict[str, list[str]] = {"": []}
    for line in lines:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"](\w+)", marker)
        of_extras.setdefault(extra[1] if extra else "", []).append(requirement.strip())
    chosen = [of_extras.get(extra, []) for extra in EXTRAS]
    return sorted(of_extras[""] + [one for some in chosen if _installed(some[:1]) for one in some])


def _installed(wanted: Iterable[str]) -> dict[str, str]:
    versions = {}
    for name in map(_name, wanted):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _tested() -> dict[str, str]:
    """Return the versions in constraints.txt, which only a checkout contains."""
    constraints = CHECKOUT / "constraints.txt"
    text = constraints.read_text(encoding="utf-8") if constraints.is_file() else ""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE))


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def _fits(version: str, requirement: str) -> bool:
    """Return whether `version` is within the bounds of `requirement`, written with >= and <."""
    bounds = re.findall(r"(>=|<)\s*([\d.]+)", requirement)
    have = _numbers(version)
    return all((have >= _numbers(b)) == (sign == ">=") for sign, b in bounds)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release of a version as numbers: (7, 4, 0) for 7.4.0rc1."""
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, release[0].split("."))) if release else ()


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
