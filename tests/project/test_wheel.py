"""The package works where it is installed, and its SQL where only psql is."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import psycopg
import pytest

from reactive_demo import Stack, read_sql
from reactive_demo.capture.install import CAPTURE, PROFILE
from reactive_demo.servers.engines import postgres_programs

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.name for path in (ROOT / "sql").glob("0*.sql"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder that holds the installed package."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "installed")
    return wheel.parent / "installed"


def outside(installed: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the installed `reactive-demo`, away from the checkout."""
    packages = {path for path in sys.path if path.endswith("site-packages")}
    guard = (
        "import runpy, sys, reactive_demo\n"
        f"assert reactive_demo.__file__.startswith({str(installed)!r}), reactive_demo.__file__\n"
        f"assert {str(ROOT)!r} not in sys.path\n"
        "runpy.run_module('reactive_demo', run_name='__main__', alter_sys=True)\n"
    )
    return subprocess.run(
        # -S leaves out the .pth file of an editable install.
        [sys.executable, "-S", "-c", guard, *arguments],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(installed), *sorted(packages)]),
            **environ,
        },
        cwd=installed.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_carries_all_that_is_not_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sql = {f"reactive_demo/capture/sql/{name}" for name in FILES}
    jupyter = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "reactive_demo" / "tutorial" / "jupyter").rglob("*")
        if path.is_file()
    }
    assert {*PROFILE, *CAPTURE} <= set(FILES)
    assert any("labconfig" in path for path in jupyter)
    assert (
        sql | jupyter | {"reactive_demo/py.typed", "reactive_demo/tutorial/widgets/card.css"}
        <= names
    )


def test_the_wheel_carries_nothing_of_the_checkout_but_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top.partition("-")[0] for top in tops} == {"reactive_demo"}


def test_the_installed_package_installs_the_schema(
    installed: Path, database_url: str, stack: Stack
) -> None:
    done = outside(installed, "install", DATABASE_URL=database_url, REDIS_URL=stack.redis_url)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT reactive.increment('ada', 'likes')")


def test_the_installed_package_says_where_the_notebooks_are(installed: Path) -> None:
    done = outside(installed, "lab")
    assert done.returncode == 1
    assert done.stderr.startswith("reactive-demo: There are no notebooks in ")
    assert done.stderr.count("\n") == 1


@pytest.mark.long
def test_the_installed_package_starts_servers(installed: Path) -> None:
    home = Path(os.environ["REACTIVE_DEMO_HOME"]).with_name("installed")
    command = ("run", "--", "sh", "-c", 'echo "$DATABASE_URL"')
    done = outside(installed, *command, REACTIVE_DEMO_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("postgresql://")
    assert {path.name for path in home.iterdir()} == {"postgres", "valkey"}


@pytest.mark.parametrize("name", FILES)
def test_an_editable_install_reads_the_same_sql(name: str, installed: Path) -> None:
    text = (ROOT / "sql" / name).read_text()
    assert read_sql(name) == text
    assert (installed / "reactive_demo" / "capture" / "sql" / name).read_text() == text


def test_psql_runs_the_files_as_they_are_and_again(database_url: str) -> None:
    psql = postgres_programs() / "psql"
    for path in [ROOT / "sql" / name for name in FILES] * 2:
        done = subprocess.run(
            [psql, "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-f", path, database_url],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{path.name}: {done.stderr}"
