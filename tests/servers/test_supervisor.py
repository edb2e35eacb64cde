"""The embedded servers run as long as somebody uses them, and no longer."""

import signal
import sys
import time

import psycopg
import redis

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
