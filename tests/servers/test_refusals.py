"""A server that refuses is a sentence on the command line; one that is away is waited for."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from reactive_demo import Cache
from reactive_demo.cli import main
from reactive_demo.errors import in_a_sentence
from tools.redis_server import RedisServer
from tools.servers import Door

Use = Callable[..., None]


@pytest.fixture
def use(database: str, cache_url: str, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Have the commands use these servers."""

    def use(database_url: str = database, redis_url: str = cache_url) -> None:
        monkeypatch.setenv("DATABASE_URL", database_url)
        monkeypatch.setenv("REDIS_URL", redis_url)

    return use


@pytest.fixture(scope="module")
def strict_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that wants a password, with accounts that may do little: its address."""
    server = RedisServer(tmp_path_factory.mktemp("strict"))
    server.start()
    with redis.Redis.from_url(server.url) as admin:
        for user, rights in {
            "reader": "~* &* +@read +@connection +@scripting",
            "mute": "~* resetchannels +@all",
            "stranger": "~other:* &* +@all",
            "nothing": "",
        }.items():
            admin.execute_command(f"ACL SETUSER {user} on nopass {rights}")
        admin.config_set("requirepass", "secret")
    yield server.url.removeprefix("unix://")
    server.stop()


@pytest.mark.parametrize("command", ["audit", "resync"])
@pytest.mark.parametrize("user", ["", ":wrong@", "reader@", "stranger@", "nothing@"])
def test_redis_refuses(
    command: str, user: str, strict_redis: str, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(redis_url=f"unix://{user}{strict_redis}")
    status = main([command])
    out, err = capsys.readouterr()
    if status == 0:
        assert command == "audit", out  # there is nothing to compare
        return
    assert err.startswith("reactive-demo: ")
    assert err.count("\n") == 1
    assert "secret" not in err
    assert "wrong@" not in err


@pytest.mark.parametrize("command", [["uninstall", "--yes"], ["audit"], ["install"]])
@pytest.mark.parametrize(
    "harm",
    [
        "ALTER ROLE weak SET default_transaction_read_only = on",
        "REVOKE ALL ON SCHEMA reactive FROM PUBLIC",
        "ALTER ROLE weak CONNECTION LIMIT 0",
        "ALTER ROLE weak NOLOGIN",
    ],
)
def test_postgresql_refuses(
    command: list[str], harm: str, database: str, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(database.replace("reactive_demo@", "weak@", 1))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE ROLE weak LOGIN")
        try:
            connection.execute(harm.encode())
            assert main(command) in (1, 2)
        finally:
            connection.execute("DROP ROLE weak")
    err = capsys.readouterr().err
    assert err.startswith("reactive-demo: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            redis.exceptions.NoPermissionError("no permission"),
            "Redis refuses (no permission): correct REDIS_URL, or give that account the right.",
        ),
        (
            redis.ResponseError("Y\nmore"),
            "Redis refuses (Y): mend that, then try again; `reactive-demo doctor` may know more.",
        ),
        (
            psycopg.OperationalError("refused\n  Is it running?"),
            "PostgreSQL does not answer (refused): start that server, then try again.",
        ),
        (
            psycopg.errors.InsufficientPrivilege("denied"),
            "PostgreSQL refuses (denied): correct DATABASE_URL, or give that account the right.",
        ),
        (
            PermissionError(13, "Permission denied", "/x"),
            "The system refuses /x (Permission denied): mend that, then try again.",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_a_server_is_one_sentence(error: Exception, sentence: str) -> None:
    assert in_a_sentence(error) == sentence


@contextmanager
def listen(*variables: str) -> Iterator[subprocess.Popen[str]]:
    words = ["env", *variables, sys.executable, "-m", "reactive_demo", "listen"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # where the test has failed; else it has ended


def says(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr
    lines = []
    while not (lines and words in lines[-1]):
        lines.append(process.stderr.readline())
        assert lines[-1], f"it ended before it said {words}"
        assert "Traceback" not in lines[-1]
        assert len(lines) < 30, lines


def test_a_listener_waits_for_a_database_that_is_away(cache: Cache, door: Door) -> None:
    with listen(f"DATABASE_URL={door.url}", f"REDIS_URL={cache.redis_url}") as process:
        says(process, "connecting: PostgreSQL does not answer (")
        door.open()
        says(process, "live")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_a_listener_waits_for_a_redis_that_is_away(database: str, tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    with listen(f"DATABASE_URL={database}", f"REDIS_URL={server.url}") as process:
        says(process, "degraded: Redis does not answer (")
        server.start()
        says(process, "live")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    server.stop()


def test_a_listener_says_at_once_all_that_its_accounts_may_not(
    database: str, strict_redis: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE ROLE weak LOGIN")
        weak = database.replace("reactive_demo@", "weak@", 1)
        variables = f"DATABASE_URL={weak}", f"REDIS_URL=unix://mute@{strict_redis}"
        with listen(*variables) as process:
            says(
                process,
                "lacks rights that a listener needs: in PostgreSQL, "
                "GRANT USAGE ON SCHEMA reactive; "
                "GRANT SELECT, UPDATE ON reactive.captured; GRANT SELECT ON public.profile; "
                "GRANT DELETE, SELECT ON reactive.change; in Redis, ACL SETUSER ... &profile:*.",
            )
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        connection.execute("DROP ROLE weak")
