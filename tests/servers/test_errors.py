"""What goes wrong is said in one sentence: no traceback, no password, and what to do."""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from reactive_demo import ReactiveDemoError, Stack, connect
from reactive_demo.cli import main
from reactive_demo.settings import Settings
from servers.homes import Home

Said = Callable[..., str]

NOBODY_ANSWERS = {
    "refused": ("DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/db", "u:***@127.0.0.1:1"),
    "no host": ("DATABASE_URL", "postgresql://u:secret@nosuch.invalid/db", "nosuch.invalid"),
    "no name": ("DATABASE_URL", f"postgresql://u:secret@{'x' * 70}/db", "xxx"),
    "two hosts": ("DATABASE_URL", "postgresql://u:secret@127.0.0.1:1,127.0.0.1:2/db", "refused"),
    "conninfo": ("DATABASE_URL", "host=127.0.0.1 port=1 password='a secret'", "password=***"),
    "no socket": ("DATABASE_URL", "postgresql://u:secret@/db?host=/nosuch", "No such file"),
    "redis refused": ("REDIS_URL", "redis://:secret@127.0.0.1:1/0", ":***@127.0.0.1:1"),
    "redis no host": ("REDIS_URL", "redis://:secret@nosuch.invalid/0", "nosuch.invalid"),
    "redis no name": ("REDIS_URL", f"redis://:secret@{'x' * 70}/0", "xxx"),
    "redis no socket": ("REDIS_URL", "unix://:secret@/nosuch", "No such file"),
    "redis with TLS": ("REDIS_URL", "rediss://:secret@127.0.0.1:1/0", "refused"),
}


@pytest.fixture
def both(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of one's own, in both variables."""
    monkeypatch.setenv("DATABASE_URL", stack.database_url)
    monkeypatch.setenv("REDIS_URL", stack.redis_url)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Run a command that must fail: the one line that it says."""

    def run(*arguments: str) -> str:
        assert main(arguments) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("reactive-demo: ")
        assert err.count("\n") == 1
        assert "secret" not in err
        assert "Traceback" not in err
        return err

    return run


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize(
    ("variable", "url", "words"), NOBODY_ANSWERS.values(), ids=list(NOBODY_ANSWERS)
)
def test_a_server_that_does_not_answer(
    variable: str, url: str, words: str, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, url)
    sentence = said("install")
    assert f"{variable} (" in sentence
    assert "does not answer" in sentence
    assert words in sentence
    assert f"unset {variable}" in sentence


def test_in_python_an_error_has_no_password_and_no_inner_traceback() -> None:
    wrong = Settings("postgresql://u:secret@127.0.0.1:1/db", "redis://:secret@h/0", Path("/nosuch"))
    with pytest.raises(ReactiveDemoError) as caught:
        connect(wrong)
    told = "".join(traceback.format_exception(caught.value))
    assert "secret" not in told
    assert told.count("Traceback") == 1


def test_a_program_says_it_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "reactive_demo", "install"],
        env={**os.environ, "DATABASE_URL": "postgresql://u:se/cret@h/db"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("reactive-demo: DATABASE_URL is not")
    assert ended.stderr.count("\n") == 1


def test_a_wrong_password_is_an_error_and_a_right_one_is_not_shown(
    used_home: Home, said: Said, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with used_home.connect() as stack:
        (used_home.place("postgres").data / "pg_hba.conf").write_text("local all all scram-sha-256")
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            connection.execute("ALTER ROLE reactive_demo PASSWORD 'top-secret'")
            connection.execute("SELECT pg_reload_conf()")
        with redis.Redis.from_url(stack.redis_url) as client:
            client.config_set("requirepass", "top-secret")

        def use(password: str) -> None:
            database = stack.database_url.replace("@", f":{password}@", 1)
            cache = stack.redis_url.replace("unix://", f"unix://:{password}@")
            monkeypatch.setenv("DATABASE_URL", database)
            monkeypatch.setenv("REDIS_URL", cache)

        use("no-secret")
        assert "password authentication failed" in said("install")
        use("top-secret")
        with connect() as own:
            assert "secret" not in repr(own)
            assert ":***@" in repr(own)
        assert main(["install"]) == 0
        assert "secret" not in "".join(capsys.readouterr())
        monkeypatch.setenv("REDIS_URL", stack.redis_url.replace("unix://", "unix://:no-secret@"))
        assert "REDIS_URL (unix://:***@" in said("install")


def test_a_file_in_the_way_of_the_home(
    home: Home, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.path.touch()
    for chosen in (home.path, home.path / "below"):
        monkeypatch.setenv("REACTIVE_DEMO_HOME", str(chosen))
        assert f"The folder {chosen}/postgres cannot be made" in said("install")


def test_data_of_another_version(
    used_home: Home, said: Said, monkeypatch: pytest.MonkeyPatch, stack: Stack
) -> None:
    (used_home.place("postgres").data / "PG_VERSION").write_text("17\n")
    monkeypatch.setenv("REACTIVE_DEMO_HOME", str(used_home.path))
    monkeypatch.setenv("REDIS_URL", stack.redis_url)
    sentence = said("install")
    assert "made by PostgreSQL 17, and this is PostgreSQL 18" in sentence
    assert "`reactive-demo reset`" in sentence


@pytest.mark.parametrize("vital", ["PG_VERSION", "global/pg_control"])
def test_a_broken_database_and_the_way_out(
    vital: str, used_home: Home, said: Said, monkeypatch: pytest.MonkeyPatch, stack: Stack
) -> None:
    (used_home.place("postgres").data / vital).unlink()
    monkeypatch.setenv("REACTIVE_DEMO_HOME", str(used_home.path))
    monkeypatch.setenv("REDIS_URL", stack.redis_url)
    sentence = said("install")
    assert "PostgreSQL did not start" in sentence
    assert str(used_home.place("postgres").log) in sentence
    assert "`reactive-demo reset`" in sentence


def test_a_broken_snapshot_and_the_way_out(
    used_home: Home, said: Said, monkeypatch: pytest.MonkeyPatch, stack: Stack
) -> None:
    (used_home.place("valkey").data / "dump.rdb").write_bytes(b"not a snapshot")
    monkeypatch.setenv("REACTIVE_DEMO_HOME", str(used_home.path))
    monkeypatch.setenv("DATABASE_URL", stack.database_url)
    sentence = said("install")
    assert "Valkey did not start" in sentence
    assert str(used_home.place("valkey").log) in sentence
    assert "`reactive-demo reset`" in sentence
    monkeypatch.delenv("DATABASE_URL")
    assert main(["reset"]) == 0
    with used_home.connect(database_url=stack.database_url):
        assert not used_home.place("valkey").read("state").get("error")
