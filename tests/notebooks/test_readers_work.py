"""`make test` works where a reader has worked: with answers in notebooks, and new ones beside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.course import FOLDER, ROOT, Course

ANSWER = "answers =1"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose reader has answered an exercise, not formatted, and made a notebook."""
    (tmp_path / "notebooks").mkdir()
    for name in ("pyproject.toml", "notebooks/00_welcome.ipynb", "notebooks/summary.md"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    notebook = json.loads((FOLDER / "01_listen_notify.ipynb").read_text())
    path = tmp_path / "notebooks" / "01_listen_notify.ipynb"
    path.write_text(json.dumps(notebook))
    for command in (["init"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    notebook["cells"][1]["source"] = [ANSWER]
    path.write_text(json.dumps(notebook))
    (tmp_path / "notebooks" / "Untitled.ipynb").write_text(json.dumps(notebook))
    return tmp_path


def test_the_course_is_what_git_tracks_and_a_copy_has_no_answers(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    course = Course(checkout)
    assert [path.name for path in course.notebooks] == [
        "00_welcome.ipynb",
        "01_listen_notify.ipynb",
    ]
    assert [path.name for path in course.changed] == ["01_listen_notify.ipynb"]
    copy = tmp_path_factory.mktemp("copy") / "notebooks"
    course.copy(copy)
    assert {path.name for path in copy.iterdir()} == {
        "00_welcome.ipynb",
        "01_listen_notify.ipynb",
        "summary.md",
    }
    assert not any(ANSWER in path.read_text() for path in copy.iterdir())


def test_a_change_counts_once_it_is_staged(checkout: Path) -> None:
    subprocess.run(["git", "add", "."], cwd=checkout, check=True)
    course = Course(checkout)
    assert course.changed == []
    assert len(course.notebooks) == 3


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_minds_no_readers_notebook(command: list[str], checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_pytest_collects_no_readers_notebook(checkout: Path) -> None:
    tools = checkout / "tests" / "tools"
    tools.mkdir(parents=True)
    (tools / "course.py").write_text((ROOT / "tests" / "tools" / "course.py").read_text())
    (checkout / "tests" / "conftest.py").write_text(
        "from tools import course\n"
        "def pytest_configure(config): config.pluginmanager.register(course)\n"
    )

    def collected(*arguments: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": "", "PYTEST_ADDOPTS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        return {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}

    assert collected() == {"notebooks/00_welcome.ipynb"}
    untitled = "notebooks/Untitled.ipynb"
    assert collected("tests", untitled) == {untitled}
