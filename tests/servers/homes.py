"""A home of a test's own, and the processes that use it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
import redis

from reactive_demo import Stack, connect
from reactive_demo.servers.server_dir import ServerDir
from reactive_demo.settings import Settings
from tools.waiting import until

USER = r"""
import sys
from reactive_demo import connect
stack = connect()
print(f"{stack.database_url} {stack.redis_url}\n", end="", flush=True)  # in one piece
sys.stdin.read()
"""
"""A program that uses the servers until its input ends."""


@dataclass
class User:
    """A process that uses the servers."""

    process: subprocess.Popen[str]

    def urls(self) -> list[str]:
        """The two URLs, once it has them."""
        assert self.process.stdout
        return self.process.stdout.readline().split()

    def leave(self) -> None:
        """End it as it likes."""
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(timeout=10) == 0

    def kill(self) -> None:
        """End it by kill -9."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it in any case, at the end of the test."""
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()


@dataclass(frozen=True)
class Home:
    """The folder of two embedded servers."""

    path: Path
    users: list[User] = field(default_factory=list)

    def connect(self, database_url: str | None = None, redis_url: str | None = None) -> Stack:
        """Use the servers in this process."""
        return connect(Settings(database_url, redis_url, self.path))

    def join(self, *command: str) -> User:
        """Use the servers in another process, which does not have them yet."""
        process = subprocess.Popen(
            command or [sys.executable, "-c", USER],
            env={**os.environ, "REACTIVE_DEMO_HOME": str(self.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.users.append(User(process))
        return self.users[-1]

    def place(self, name: str) -> ServerDir:
        """The folder of one server."""
        return ServerDir(self.path / name)

    def server(self, name: str) -> psutil.Process:
        """The process of one server."""
        return psutil.Process(self.place(name).read("server")["pid"])

    def servers(self) -> list[psutil.Process]:
        """The processes of both servers."""
        return [self.server("postgres"), self.server("valkey")]

    def supervisors(self) -> list[psutil.Process]:
        """The processes of both supervisors."""
        return [psutil.Process(server.ppid()) for server in self.servers()]

    def processes(self) -> Iterator[psutil.Process]:
        """Supervisors, servers and the servers' own processes, which work in the data folder."""
        for process in psutil.process_iter():
            try:
                words = [process.cwd(), *process.cmdline()]
            except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            if any(word.startswith(f"{self.path}/") for word in words):
                yield process

    def is_quiet(self) -> bool:
        """Whether nothing runs here."""
        return not list(self.processes())

    def stop(self) -> None:
        """Stop the servers now, as a shutdown of the machine does."""
        for supervisor in self.supervisors():
            supervisor.send_signal(signal.SIGTERM)
        until("the servers have stopped", self.is_quiet, timeout=20)


def socket_folders(*urls: str) -> list[Path]:
    """Where the servers of a database's and a cache's URL listen."""
    database, cache = map(urlsplit, urls)
    return [Path(parse_qs(database.query)["host"][0]), Path(cache.path).parent]


def answer(database_url: str, redis_url: str) -> bool:
    """Whether both servers answer."""
    try:
        psycopg.connect(database_url, connect_timeout=5).close()
        with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
            return bool(client.ping())
    except (psycopg.OperationalError, redis.RedisError):
        return False
