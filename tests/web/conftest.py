"""The profile app, running, with a listener and a database of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis

from reactive_demo import Cache, ChangeTableFeed, Listener, ProfileApp, Profiles, Stack, install
from tools.redis_server import RedisServer


@dataclass(frozen=True)
class Web:
    """What a test of the app may need."""

    app: ProfileApp
    database_url: str
    redis_url: str
    cache: Cache
    profiles: Profiles

    @property
    def port(self) -> int:
        return self.app.port

    def rows(self) -> list[tuple[object, ...]]:
        """The table, as the database has it."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute("SELECT * FROM profile ORDER BY username").fetchall()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that nobody else uses."""
    folder = Path(tempfile.mkdtemp(prefix="rd-web-", dir="/tmp"))
    server = RedisServer(folder, "--save", "")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def web(stack: Stack) -> Iterator[Web]:
    """The app for all tests of a file, which use names of their own."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE web")
        database_url = stack.database_url.replace("/reactive_demo?", "/web?")
        install(database_url)
        with redis.Redis.from_url(stack.redis_url) as client:
            client.flushall()  # what an earlier file, or a notebook, has left
        cache = Cache(stack.redis_url)
        with (
            Listener(ChangeTableFeed(database_url), cache) as listener,
            ProfileApp(database_url, stack.redis_url) as app,
            Profiles(database_url) as profiles,
        ):
            listener.wait_until("live")
            yield Web(app, database_url, stack.redis_url, cache, profiles)
        cache.close()
        connection.execute("DROP DATABASE web WITH (FORCE)")
