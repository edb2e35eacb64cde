"""The embedded servers run as long as somebody uses them, and no longer."""

import shutil
import signal
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis

from reactive_demo import Stack
from reactive_demo.servers import server_dir
from reactive_demo.servers.engines import SERVERS
from reactive_demo.servers.process import Running, end_orphan
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir, reason_in
from reactive_demo.servers.supervisor import GRACE
from servers.homes import USER, Home, answer, socket_folders
from tools.waiting import until

CLI_USER = (
    *(sys.executable, "-m", "reactive_demo", "run", "--"),
    *("sh", "-c", 'echo "$DATABASE_URL" "$REDIS_URL"; exec cat'),
)

SIX_USERS = f"""
import os
import reactive_demo
for _ in range(6):
    if os.fork() == 0:
        exec({USER!r})
        os._exit(0)
"""


def test_users_share_one_stack_and_the_last_one_puts_out_the_light(home: Home) -> None:
    early = [home.join(), home.join()]
    urls, same = [user.urls() for user in early]
    assert urls == same
    servers = home.servers()

    late = home.join(*CLI_USER)
    assert late.urls() == urls

    early[0].leave()
    early[1].kill()
    past_the_grace = time.monotonic() + GRACE + 1.5
    while time.monotonic() < past_the_grace:
        assert answer(*urls)
        time.sleep(0.1)
    assert home.servers() == servers

    late.kill()
    until("servers and supervisors are gone", home.is_quiet, timeout=20)
    assert not [folder for folder in socket_folders(*urls) if folder.exists()]


def test_six_users_at_once_start_one_stack(home: Home) -> None:
    users = home.join(sys.executable, "-c", SIX_USERS)
    urls = [users.urls() for _ in range(6)]
    assert urls == [urls[0]] * 6
    assert len(urls[0]) == 2
    supervisors = [p for p in home.processes() if "reactive_demo.servers.supervisor" in p.cmdline()]
    assert len(supervisors) == 2


def test_servers_outlast_a_restarted_kernel_and_data_outlasts_the_servers(home: Home) -> None:
    with home.connect() as stack:
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'a row' AS value")
        with redis.Redis.from_url(stack.redis_url) as client:
            client.set("kept", "a key")
        servers = home.servers()
    with home.connect() as at_once:
        assert home.servers() == servers
        assert at_once.database_url == stack.database_url
        home.stop()
    with home.connect() as stack:
        with psycopg.connect(stack.database_url) as connection:
            assert connection.execute("SELECT value FROM kept").fetchone() == ("a row",)
        with redis.Redis.from_url(stack.redis_url) as client:
            assert client.get("kept") == b"a key"


def test_killed_keepers_leave_no_servers_and_do_not_harm_the_next_user(home: Home) -> None:
    with home.connect() as stack:
        for supervisor in home.supervisors():
            supervisor.kill()
        if sys.platform == "linux":
            until("the servers have gone too", home.is_quiet, timeout=20)
        with home.connect() as anew:
            assert answer(anew.database_url, anew.redis_url)
            assert not [
                folder
                for folder in socket_folders(stack.database_url, stack.redis_url)
                if folder.exists()
            ]


def test_killed_servers_come_back_at_the_same_address(home: Home) -> None:
    with home.connect() as stack, psycopg.connect(stack.database_url):
        killed = home.servers()
        for server in killed:
            server.send_signal(signal.SIGKILL)
        until(
            "both servers answer again",
            lambda: answer(stack.database_url, stack.redis_url),
            timeout=20,
        )
        until("they are new ones", lambda: not set(killed) & set(home.servers()))


def test_a_cleared_temporary_folder_is_made_again_at_the_same_address(home: Home) -> None:
    with home.connect() as stack:
        urls = stack.database_url, stack.redis_url
        for folder in socket_folders(*urls):
            shutil.rmtree(folder)
        until("both servers answer again", lambda: answer(*urls), timeout=30)
        for folder in socket_folders(*urls):
            next(path for path in folder.iterdir() if path.is_socket()).unlink()
        until("and once more, without their sockets", lambda: answer(*urls), timeout=30)
        with home.connect() as late:
            assert (late.database_url, late.redis_url) == urls


def test_damaged_notes_are_written_again_while_the_server_runs(home: Home, stack: Stack) -> None:
    damaged = ["", "{", "[]", "null", '{"url": 1}', '{"pid": "x", "socket": 7}', "\x00" * 100]
    with home.connect(database_url=stack.database_url) as first:
        for text in damaged:
            (home.place("valkey").folder / "state.json").write_text(text)
            with home.connect(database_url=stack.database_url) as second:
                assert second.redis_url == first.redis_url


@pytest.mark.parametrize(
    ("name", "notes"), [("postgres", "{}"), ("valkey", '{"pid": -1, "socket": "/"}')]
)
def test_an_orphan_whose_notes_are_damaged_is_ended_before_its_data_is_used(
    name: str, notes: str, home: Home
) -> None:
    """Two servers on one folder would destroy it."""
    account, place = RunAs.for_servers(), home.place(name)
    place.create()
    account.own(home.path)
    server = SERVERS[name](place, account)
    server.prepare()
    running = Running(server, place, account)
    running.start(place.folder)
    (place.folder / "server.json").write_text(notes)
    end_orphan(place, server.stop_signal)
    assert running.exited


def test_notes_that_name_another_folder_do_not_have_it_removed(tmp_path: Path) -> None:
    (kept := tmp_path / "kept").mkdir()
    place = ServerDir(tmp_path)
    place.write("server", {"pid": 2**40, "started": 1.0, "socket": str(kept)})
    end_orphan(place, signal.SIGTERM)
    assert kept.is_dir()
    assert place.read("server") == {}


def test_a_full_disk_is_the_reason_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [
        'FATAL:  could not write to file "pg_wal/x": No space left on device',
        "child process exited with exit code 1",
        "initdb: error: something follows",
        "initdb: removing contents of data directory",
        "",
    ]
    assert reason_in(said) == said[0]
    assert reason_in(said[1:]) == said[2]
    assert reason_in(said[3:]) == said[3]
    assert reason_in([""]) == "nothing was logged"
    place = ServerDir(tmp_path)
    assert place.last_words() == "nothing was logged"
    place.log.write_text("LOG: starting")
    assert place.last_words() == "LOG: starting"
    monkeypatch.setattr(server_dir, "FULL", 2**62)
    assert place.last_words() == "No space left on device"
