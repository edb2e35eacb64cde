"""The course's notebooks, and how to tell a reader's work from them.

A reader writes answers into the notebooks, runs them, and makes new ones beside them. None of that
is tested: what counts is what git tracks, and a change counts once it is staged.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

__all__ = ["FOLDER", "NOTEBOOKS", "Course", "copy_course", "each_notebook"]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"


class Course:
    """The notebooks in a checkout's folder `notebooks`."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        tracked = self._git("ls-files", "--", "notebooks")
        self.notebooks = sorted(
            path
            for path in (root / "notebooks").glob("*.ipynb")
            if tracked is None or f"notebooks/{path.name}" in tracked.splitlines()
        )
        """Those that git tracks; all of them where there is no git."""
        changed = (self._git("diff", "--name-only", "--", "notebooks") or "").splitlines()
        self.changed = [path for path in self.notebooks if f"notebooks/{path.name}" in changed]
        """Those that differ from what is staged."""

    def copy(self, folder: Path) -> None:
        """Copy the folder to `folder`, the notebooks as they are staged."""
        shutil.copytree(
            self._root / "notebooks", folder, ignore=shutil.ignore_patterns(".*", "*.ipynb")
        )
        for path in self.notebooks:
            if path in self.changed:
                staged = self._git("show", f":notebooks/{path.name}")
                (folder / path.name).write_text(staged or "", encoding="utf-8")
            else:
                shutil.copy(path, folder)

    def _git(self, *arguments: str) -> str | None:
        done = subprocess.run(
            ["git", *arguments], cwd=self._root, capture_output=True, text=True, check=False
        )
        return done.stdout if done.returncode == 0 else None


_course = Course()

NOTEBOOKS = _course.notebooks
LONG = {
    FOLDER / f"{name}.ipynb"
    for name in ("08_read_the_log", "09_five_brokers", "10_beyond_one_machine", "12_how_far")
}
copy_course = _course.copy


def each_notebook(**marks: Any) -> list[Any]:
    """The notebooks as parameters; skipped where a reader has changed one."""
    skip = pytest.mark.skip(reason="it was changed here: `git add` it to test it")
    return [
        pytest.param(
            path,
            id=path.stem,
            marks=[*marks.get(path.stem, []), *([skip] if path in _course.changed else [])],
        )
        for path in NOTEBOOKS
    ]


@pytest.hookimpl
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have `make test-long` run the notebooks that measure, or wait for servers to restart."""
    for item in items:
        if item.path in LONG:
            item.add_marker(pytest.mark.long)


@pytest.hookimpl
def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out a reader's notebooks, unless the command line names them."""
    if collection_path.suffix != ".ipynb" or collection_path.parent != FOLDER:
        return None
    named = (Path(argument.partition("::")[0]).resolve() for argument in config.args)
    theirs = collection_path not in NOTEBOOKS or collection_path in _course.changed
    return True if theirs and collection_path not in named else None
