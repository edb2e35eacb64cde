"""What takes its time: a listener that runs for long, and a table that is large."""

import time
from collections.abc import Callable, Iterator

import psutil
import psycopg
import pytest
import redis

from reactive_demo import Cache, Listener, Profiles
from tools.agreement import agree, cache_follows
from tools.durable import BOTH, Durable
from tools.redis_server import RedisServer
from tools.servers import Process
from tools.waiting import until, while_it_moves

Listen = Callable[..., Listener]

pytestmark = pytest.mark.long

MB = 1024**2


@pytest.fixture(params=BOTH)
def durable(request: pytest.FixtureRequest) -> Durable:
    return request.param


@pytest.fixture
def process(database: str, cache: Cache) -> Iterator[Process]:
    """A listener of which nothing else is known than what its process needs."""
    process = Process(database, cache)
    yield process
    process.end()


def test_the_memory_of_a_listener_does_not_grow(
    database: str,
    connection: psycopg.Connection,
    cache: Cache,
    client: redis.Redis,
    process: Process,
) -> None:
    process.wait_until("live")
    found = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name SIMILAR TO 'reactive_demo (listen|stream)%'"
    )
    watched = [psutil.Process(pid) for pid in (process.pid, *(pid for (pid,) in found))]
    connection.execute(
        "INSERT INTO public.profile SELECT 'user ' || n FROM generate_series(1, 1000) n"
    )

    def live(count: int) -> list[int]:
        """Wake it, and let it fall asleep; the bytes that each process has to itself then."""
        with Profiles(database) as profiles:
            for n in range(count):
                profiles.increment("user 1", "likes")
                cache_follows(profiles, cache, "user 1")
                if n % 20 == 0:
                    connection.execute("UPDATE public.profile SET likes_count = likes_count + 1")
        agree(database, cache)
        return [process.memory_full_info().uss for process in watched]

    live(200)  # what is made once is made
    before, kept = live(200), client.info("memory")["used_memory"]
    after = live(1_500)
    grown = [(b - a) / MB for a, b in zip(before, after, strict=True)]
    assert max(grown) < 3, f"in MB, the listener and its backends: {grown}"
    assert client.info("memory")["used_memory"] < kept + 2 * MB


@pytest.mark.nightly
def test_a_million_rows_fill_an_empty_cache(
    database: str, connection: psycopg.Connection, own_redis: RedisServer, listen: Listen
) -> None:
    count = 1_000_000
    connection.execute("ALTER TABLE public.profile DISABLE TRIGGER USER")  # they were there before
    connection.execute(
        "INSERT INTO public.profile SELECT 'user ' || n, n FROM generate_series(1, %s) n", [count]
    )
    connection.execute("ALTER TABLE public.profile ENABLE TRIGGER USER")
    cache = Cache(own_redis.url)
    begun = time.monotonic()
    listener = listen(database, cache, state="catching up")
    connection.execute("DELETE FROM public.profile WHERE username = 'user 1'")
    connection.execute("UPDATE public.profile SET followings_count = 0 WHERE username = 'user 2'")
    with redis.Redis.from_url(own_redis.url) as client:

        def scripts() -> int:
            return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))

        while_it_moves("it is live", lambda: listener.state == "live", scripts)
        print(f"{count:,} rows in {time.monotonic() - begun:.1f} s")  # noqa: T201  (measured, told)

        def rows() -> int:
            tombstones = client.exists("profile:user 1")
            return client.dbsize() - client.exists("reactive_demo:feed:profile") - tombstones

        until("all are there, but one", lambda: rows() == count - 1, timeout=20)
    assert cache.get("user 1") is None
    until("it is changed", lambda: cache.get("user 2")["followings_count"] == 0)
    for n in range(3, count, 9973):
        assert cache.get(f"user {n}")["followings_count"] == n
