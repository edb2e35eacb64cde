"""The folder of the data: any path will do, and nothing in it but our own is touched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from reactive_demo import ReactiveDemoError, Stack
from reactive_demo.servers.engines import postgres_programs
from reactive_demo.servers.run_as import RunAs
from reactive_demo.settings import CHECKOUT, Settings
from servers.homes import Home, answer

NAMES = {
    "spaces and letters": "it's my Grüße ☃",
    "what a shell would read": 'a "quoted" $HOME\\',
    "a very long path": "/".join(["long" * 15] * 4),
}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_path_will_do(home: Home, name: str) -> None:
    unusual = Home(home.path / name)
    copied = not RunAs.for_servers().reaches(postgres_programs())
    if copied and "$" in name:
        with pytest.raises(ReactiveDemoError, match="set REACTIVE_DEMO_HOME to another folder"):
            unusual.connect()
        return
    with unusual.connect() as stack:
        assert answer(stack.database_url, stack.redis_url)
        assert mode(unusual.path) == 0o700
        assert {mode(unusual.place(name).data) for name in ("postgres", "valkey")} == {0o700}


def test_a_folder_with_other_files_keeps_them_and_its_mode(home: Home, stack: Stack) -> None:
    home.path.mkdir(mode=0o755)
    home.path.chmod(0o755)
    mine = home.path / "mine.txt"
    mine.write_text("precious")
    mine.chmod(0o604)
    before = mine.stat()
    with home.connect(database_url=stack.database_url):
        assert mode(home.place("valkey").folder) == 0o700
    after = mine.stat()
    assert mode(home.path) == 0o755
    assert mine.read_text() == "precious"
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_two_homes_do_not_meet(home: Home, stack: Stack) -> None:
    with home.connect(redis_url=stack.redis_url) as other:
        assert other.database_url != stack.database_url
        with psycopg.connect(other.database_url) as connection:
            connection.execute("CREATE TABLE only_here ()")
        with psycopg.connect(stack.database_url) as connection:
            assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)


def test_each_checkout_has_a_home_of_its_own(tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if k != "REACTIVE_DEMO_HOME"}
    copy = tmp_path / CHECKOUT.name
    shutil.copytree(CHECKOUT / "reactive_demo", copy / "reactive_demo")
    ask = "from reactive_demo.settings import *; print(Settings.from_environment().home)"
    found = subprocess.run(
        [sys.executable, "-c", ask],
        env={**environ, "PYTHONPATH": os.pathsep.join([str(copy), *sys.path])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    other, this = Path(found.stdout.strip()), Settings.from_environment(environ).home
    assert other.parent == this.parent
    assert other != this


def test_each_user_has_a_home_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    homes = [
        Settings.from_environment({"XDG_DATA_HOME": f"/home/{name}/data"}).home
        for name in ("ada", "bob")
    ]
    assert homes[0].is_relative_to("/home/ada/data/reactive_demo")
    assert homes[1].is_relative_to("/home/bob/data/reactive_demo")


@pytest.mark.parametrize("wrong", ["data", "./data", "../data", "~nosuchuser/data"])
def test_a_relative_home_is_an_error(wrong: str) -> None:
    with pytest.raises(ReactiveDemoError, match="set it to an absolute path"):
        Settings.from_environment({"REACTIVE_DEMO_HOME": wrong})


def test_a_relative_xdg_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/ada")
    home = Settings.from_environment({"XDG_DATA_HOME": "data"}).home
    assert home.is_relative_to("/home/ada/.local/share/reactive_demo")
