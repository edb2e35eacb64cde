"""The command `reactive-demo serve`, as a process."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from reactive_demo import install, uninstall
from tools.waiting import until
from tools.web import Stream, ask, update

Serve = Callable[..., "Served"]


class Served:
    """A server in a process of its own, on a database that has nothing yet."""

    def __init__(self, database_url: str, redis_url: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reactive_demo", "serve", *arguments],
            env={**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=few_files,  # noqa: PLW1509
        )
        self.said = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/$", self.said)
        self.port = int(found[1]) if found else 0

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send it a signal; its status, and what it wrote to the error stream."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


def few_files() -> None:
    """The limit that many systems give, and the SIGINT that a background job ignores."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def serve(database_url: str, valkey_url: str) -> Iterator[Serve]:
    started: list[Served] = []

    def serve(*arguments: str, database_url: str = database_url) -> Served:
        started.append(Served(database_url, valkey_url, *arguments))
        return started[-1]

    yield serve
    for served in started:
        if served.process.poll() is None:
            served.process.kill()
        served.process.communicate()


def test_it_captures_listens_serves_and_ends_cleanly(serve: Serve) -> None:
    served = serve("--port", "0")
    with Stream(served.port, "ada") as stream:
        assert stream.event() == (None, None)
        version = update(served.port, "ada")
        assert stream.until(version).data["likes_count"] == 1
        until("all is well", lambda: ask(served.port, "GET", "/healthz").status == 200)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert psutil.Process(served.process.pid).rlimit(psutil.RLIMIT_NOFILE)[0] == most
        assert served.end() == (0, "")
        assert stream.event() is None


def test_it_serves_a_table_that_is_followed_in_the_log(serve: Serve, database_url: str) -> None:
    try:
        served = serve("--port", "0", "--feed", "log")
        with Stream(served.port, "ada") as stream:
            assert stream.event() == (None, None)
            version = update(served.port, "ada")
            assert stream.until(version).data["likes_count"] == 1
        assert served.end() == (0, "")
        served = serve("--port", "0")  # as it is installed
        with Stream(served.port, "ada") as stream:
            version = update(served.port, "ada")
            assert stream.until(version).data["likes_count"] == 2
        assert served.end() == (0, "")
    finally:
        uninstall(database_url)


def test_without_a_listener_it_says_that_nobody_carries_changes(serve: Serve) -> None:
    served = serve("--port", "0", "--no-listener")
    assert update(served.port, "ada")
    assert served.end(signal.SIGINT) == (0, "")


@pytest.fixture
def app_role(database_url: str) -> Iterator[psycopg.Connection]:
    """The owner's connection, and a role `app` that has no rights."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("CREATE ROLE app LOGIN")
        yield owner
        owner.execute("DROP OWNED BY app")
        owner.execute("DROP ROLE app")


def test_an_account_that_may_not_install_serves_what_is_captured(
    serve: Serve, database_url: str, app_role: psycopg.Connection
) -> None:
    """All rights that are missing are named in one sentence, and granting those is enough."""
    as_app = make_conninfo(database_url, user="app")
    status, errors = failed(serve("--port", "0", database_url=as_app))
    assert status == 1
    assert "not captured" in errors
    assert "`reactive-demo install`" in errors

    install(database_url)
    status, errors = failed(serve("--port", "0", database_url=as_app))
    assert status == 1
    assert errors.count("\n") == 1
    rights = re.search("GRANT (.*) to it", errors)[1].split(", ")
    assert "SELECT ON reactive.change" in rights
    for right in rights:
        app_role.execute(f"GRANT {right} TO app")
    served = serve("--port", "0", database_url=as_app)
    with Stream(served.port, "ada") as stream:
        version = update(served.port, "ada")
        assert stream.until(version).data["likes_count"] == 1
    status, errors = served.end()
    assert status == 0
    assert "captured already, and stays as it is" in errors


def test_without_a_listener_less_is_needed(
    serve: Serve, database_url: str, app_role: psycopg.Connection
) -> None:
    install(database_url)
    app_role.execute("GRANT USAGE ON SCHEMA public, reactive TO app")
    app_role.execute("GRANT SELECT, INSERT, UPDATE ON profile TO app")
    as_app = make_conninfo(database_url, user="app")
    served = serve("--port", "0", "--no-listener", database_url=as_app)
    assert update(served.port, "ada")
    assert served.end()[0] == 0


def failed(served: Served) -> tuple[int, str]:
    """The status and the words of a server that ended by itself."""
    return served.process.wait(timeout=20), served.process.stderr.read()


def test_a_port_that_is_taken_is_an_error_in_one_sentence(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        served = serve("--port", str(other.getsockname()[1]))
        status, errors = failed(served)
    assert status == 1
    assert errors.startswith("reactive-demo: Port ")
    assert "choose another port" in errors
    assert errors.count("\n") == 1


def test_it_dies_with_kill_and_starts_again_on_the_same_port(serve: Serve) -> None:
    first = serve("--port", "0")
    with Stream(first.port, "ada") as stream:
        stream.event()
        first.end(signal.SIGKILL)
        assert stream.event() is None
    second = serve("--port", str(first.port))
    assert second.port == first.port
    with Stream(second.port, "ada") as stream:
        version = update(second.port, "ada")
        stream.until(version)
    second.end()
