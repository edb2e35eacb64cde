"""The whole report: each server on its own, in good time, without a password."""

import shutil
import socket
from pathlib import Path

import pytest

from doctor.conftest import Find
from reactive_demo import Stack
from reactive_demo.cli import main
from reactive_demo.servers.server_dir import ServerDir
from reactive_demo.settings import Settings
from reactive_demo.tools import doctor
from reactive_demo.tools.doctor import Line, Report, State

SUBJECTS = [
    "Python",
    "packages",
    "PostgreSQL",
    "LISTEN / NOTIFY",
    "schema",
    "rights",
    "Redis",
    "Redis writes",
    "Redis eviction",
    "Redis rights",
    "RabbitMQ",
    "Kafka",
    "disk (data)",
    "socket path",
    "disk (temporary)",
    "Chromium",
    "redis-server",
]


def states(report: Report) -> dict[str, State]:
    return {line.subject: line.state for line in report.lines}


@pytest.mark.usefixtures("stack")
def test_the_command_on_embedded_servers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert all(subject in shown for subject in SUBJECTS)
    assert "embedded" in shown


def test_own_servers_need_no_folder_here(stack: Stack, tmp_path: Path, find: Find) -> None:
    report = doctor.examine(Settings(stack.database_url, stack.redis_url, tmp_path / "home"))
    assert report.healthy
    assert not {"disk (data)", "socket path"} & states(report).keys()
    assert "your own" in find("PostgreSQL", report.lines).words
    assert not (tmp_path / "home").exists()


def test_one_server_that_is_away_hides_nothing_of_the_other(
    stack: Stack, refused_port: int
) -> None:
    nowhere = f"//127.0.0.1:{refused_port}/0"
    seen = states(doctor.examine(Settings(f"postgresql:{nowhere}", stack.redis_url, Path("/"))))
    assert (seen["PostgreSQL"], seen["Redis eviction"]) == (State.MEND, State.OK)
    seen = states(doctor.examine(Settings(stack.database_url, f"redis:{nowhere}", Path("/"))))
    assert (seen["Redis"], seen["LISTEN / NOTIFY"]) == (State.MEND, State.OK)


def test_the_command_ends_with_1_when_something_must_be_mended(
    stack: Stack,
    refused_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://127.0.0.1:{refused_port}/x")
    monkeypatch.setenv("REDIS_URL", stack.redis_url)
    assert main(["doctor"]) == 1
    assert "1 thing to mend" in capsys.readouterr().out


def test_a_server_that_says_nothing_is_given_up_at_the_first_try(
    silent_server: socket.socket,
) -> None:
    silent = f"//127.0.0.1:{silent_server.getsockname()[1]}/0"
    seen = states(doctor.examine(Settings(f"postgresql:{silent}", f"redis:{silent}", Path("/"))))
    assert (seen["PostgreSQL"], seen["Redis"]) == (State.MEND, State.MEND)
    for _ in ("PostgreSQL", "Redis"):
        silent_server.accept()[0].close()
    with pytest.raises(BlockingIOError):
        silent_server.accept()


def test_no_password_is_shown(refused_port: int) -> None:
    nowhere = f"//ada:s3cret@127.0.0.1:{refused_port}/0"
    report = doctor.examine(Settings(f"postgresql:{nowhere}", f"redis:{nowhere}", Path("/")))
    for shown in (report.text(), repr(report), report._repr_html_(), str(report)):
        assert "s3cret" not in shown
    assert report.text().count("ada:***@") == 2


def test_an_embedded_server_that_cannot_start_hides_nothing_of_the_other(world: Path) -> None:
    home = world / "upgraded"
    data = ServerDir(home / "postgres").data
    data.mkdir(parents=True)
    home.chmod(0o711)
    (data / "PG_VERSION").write_text("17\n")
    report = doctor.examine(Settings(None, None, home))
    seen = states(report)
    assert (seen["PostgreSQL"], seen["Redis"]) == (State.MEND, State.OK)
    assert "made by PostgreSQL 17" in report.text(1000)


def test_a_folder_that_cannot_be_made(tmp_path: Path, find: Find) -> None:
    (tmp_path / "file").touch()
    report = doctor.examine(Settings(None, None, tmp_path / "file" / "home"))
    for subject in ("PostgreSQL", "Redis"):
        line = find(subject, report.lines)
        assert line.state is State.MEND
        assert "set REACTIVE_DEMO_HOME" in line.words


def test_settings_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, find: Find) -> None:
    monkeypatch.setenv("REACTIVE_DEMO_HOME", "not/absolute")
    report = doctor.examine()
    assert find("settings", report.lines).state is State.MEND
    assert find("Python", report.lines).state is State.OK


def test_what_a_notebook_keeps_names_no_place_of_this_machine(stack: Stack, world: Path) -> None:
    report = doctor.examine(Settings(stack.database_url, None, world / "home"))
    for kept in (repr(report), report._repr_html_()):
        assert str(world) not in kept
        assert "/tmp" not in kept
    assert str(world) in report.text(1000)
    assert shutil.which("sh") not in repr(report)


def test_the_verdict_counts_and_the_table_tells_in_words() -> None:
    lines = tuple(Line("x", state, "<b>&</b>") for state in State)
    assert Report(()).verdict == "All is well."
    assert Report(lines[:2]).verdict == "Nothing to mend and 1 to know about."
    assert Report(lines[:2]).healthy
    assert Report(lines).verdict == "1 thing to mend and 1 to know about."
    assert Report((*lines, *lines)).verdict == "2 things to mend and 2 to know about."
    assert not Report(lines).healthy
    html = Report(lines)._repr_html_()
    assert all(f"&nbsp;{state}<" in html for state in State)
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in html


def test_a_command_is_code_in_the_table_and_quoted_in_a_terminal() -> None:
    report = Report((Line("x", State.OK, "run `ANALYZE <table>`"),))
    assert "run <code>ANALYZE &lt;table&gt;</code><" in report._repr_html_()
    assert "run `ANALYZE <table>`" in report.text()


def test_long_words_are_wrapped_beside_their_subject() -> None:
    text = Report((Line("x", State.OK, "many words " * 20),)).text(60)
    first, second, *_ = text.splitlines()
    assert len(first) <= 60
    assert second.startswith((" " * 12 + "words", " " * 12 + "many"))
