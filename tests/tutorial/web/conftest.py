"""The profile app, running, with a listener and a database of its own."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
import redis

from reactive_demo import Cache, ChangeTableFeed, Listener, ProfileApp, Profiles, Stack, install
from tools.databases import new_database


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


@pytest.fixture(scope="module")
def web(stack: Stack) -> Iterator[Web]:
    """The app for all tests of a file, which use names of their own."""
    with new_database(stack, "web") as database_url:
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
