"""Servers with the faults that the doctor should find."""

import itertools
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from reactive_demo import Stack
from reactive_demo.servers.engines import PostgreSQL
from reactive_demo.servers.process import Running
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir
from reactive_demo.tools.doctor import Line
from tools.redis_server import RedisServer

StartRedis = Callable[..., redis.Redis]
Find = Callable[..., Line]

_numbers = itertools.count(1)


@pytest.fixture
def world() -> Path:
    """This run's folder, in which nothing may run at the end; its path is short."""
    return Path(os.environ["REACTIVE_DEMO_HOME"]).parent


@pytest.fixture
def find() -> Find:
    """The one line about a subject: `find("schema", lines)`."""

    def find(subject: str, lines: list[Line]) -> Line:
        (line,) = (line for line in lines if line.subject == subject)
        return line

    return find


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """A server that lets clients connect and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture
def replica_url(stack: Stack, world: Path) -> Iterator[str]:
    """A streaming replica of the embedded PostgreSQL."""
    account, place = RunAs.for_servers(), ServerDir(world / "replica" / "postgres")
    place.create()
    account.own(place.folder.parent)
    server = PostgreSQL(place, account)
    copy = ["pg_basebackup", "--pgdata", place.data, "--checkpoint=fast", "--write-recovery-conf"]
    copy[0] = server._programs / "pg_basebackup"
    account.run([*copy, "--dbname", stack.database_url], check=True, capture_output=True)
    running = Running(server, place, account)
    running.start(place.folder)
    yield running.url
    running.stop()
    shutil.rmtree(place.folder.parent)


@pytest.fixture
def start_redis(world: Path) -> Iterator[StartRedis]:
    """Start a Valkey of the test's own, with options: a client of it."""
    servers: list[RedisServer] = []

    def start(*options: object) -> redis.Redis:
        folder = world / f"redis-{next(_numbers)}"
        folder.mkdir()
        servers.append(RedisServer(folder, *map(str, options)))
        servers[-1].start()
        return redis.Redis.from_url(servers[-1].url, decode_responses=True)

    yield start
    for server in servers:
        server.stop()
