"""Read-through: a miss costs one read, and stores nothing that is older than what is there."""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import redis

from doctor.pooler import Pooler
from reactive_demo import Cache, Listener, Profiles, ReadThrough, install, uninstall
from reactive_demo.errors import NotCapturedError
from reactive_demo.redis_cache.read_through import Store
from tools.agreement import Traffic, agree, cached, carry
from tools.waiting import until

Listen = Callable[..., Listener]


class Watched(ReadThrough):
    """Counts its reads of the database; something may happen between a read and its storing."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.reads: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def _read(self, key: str, store: Store) -> str | None:
        def then(*found: Any) -> None:
            self.reads.append(key)
            if found[2]:
                self.meanwhile()
            store(*found)

        return super()._read(key, then)


@pytest.fixture
def rows(database: str, cache: Cache) -> Iterator[Watched]:
    """A reader of a cache that was filled when the table was empty."""
    carry(database, cache)
    with Watched(database, cache) as through:
        yield through


EVICT = "if redis.call('HEXISTS', KEYS[1], 'row') == 1 then redis.call('UNLINK', KEYS[1]) end"


def evict(client: redis.Redis, key: str) -> None:
    """As Redis does with a row when it is full."""
    client.eval(EVICT, 1, f"profile:{key}")


def test_a_row_that_is_missed_is_read_once_and_stored_as_the_listener_would(
    database: str, cache: Cache, client: redis.Redis, rows: Watched, profiles: Profiles
) -> None:
    profiles.increment("ada", "likes")
    carry(database, cache)
    stored = client.hgetall("profile:ada")
    evict(client, "ada")
    with client.pubsub() as ear:
        ear.subscribe("profile:ada")
        until("it is subscribed", lambda: ear.get_message(timeout=1))
        for _ in range(3):
            assert rows.get("ada") == profiles.get("ada")
        assert stored["row"] in ear.get_message(timeout=5)["data"]
    assert rows.reads == ["ada"]
    assert client.hgetall("profile:ada") == stored
    assert client.pttl("profile:ada") == -1


def test_of_50_threads_in_two_places_one_reads(
    database: str, cache: Cache, rows: Watched, profiles: Profiles
) -> None:
    profiles.increment("ada", "likes")
    start = threading.Barrier(50)
    other = Watched(database, cache)  # it shares nothing but the servers: as another process

    def get(n: int) -> Any:
        start.wait(10)
        return (rows, other)[n % 2].get("ada")

    with other, ThreadPoolExecutor(50) as threads:
        for round_ in range(5):
            cache._redis.unlink("profile:ada")
            assert list(threads.map(get, range(50))) == [profiles.get("ada")] * 50
            assert len(rows.reads + other.reads) == round_ + 1


def test_that_there_is_no_row_is_remembered_until_there_is_one(
    database: str, cache: Cache, client: redis.Redis, rows: Watched, profiles: Profiles
) -> None:
    for _ in range(100):
        assert rows.get("ada") is None
    assert rows.reads == ["ada"]
    assert 0 < client.pttl("profile:ada") <= 1000 * rows.absent_life
    profiles.increment("ada", "likes")
    carry(database, cache)
    assert rows.get("ada") == profiles.get("ada")
    assert client.pttl("profile:ada") == -1
    assert rows.reads == ["ada"]


@pytest.mark.usefixtures("rows")
def test_that_there_is_no_row_is_forgotten_again(
    database: str, cache: Cache, client: redis.Redis
) -> None:
    with Watched(database, cache, absent_life=0.01) as brief:
        assert brief.get("ada") is None
        until("it is forgotten", lambda: not client.exists("profile:ada"))
        assert brief.get("ada") is None
        assert len(brief.reads) == 2


def test_a_tombstone_says_that_there_is_no_row(
    database: str, cache: Cache, rows: Watched, profiles: Profiles
) -> None:
    profiles.increment("ada", "likes")
    profiles.delete("ada")
    carry(database, cache)
    assert rows.get("ada") is None
    assert rows.reads == []


@pytest.mark.parametrize("key", ["", "a\0b", "it's \n 🐘", "x" * 2000])
def test_odd_keys_are_absent_or_found(rows: Watched, profiles: Profiles, key: str) -> None:
    assert rows.get(key) is None
    if "\0" not in key:
        profiles.increment(key, "likes")
        rows.cache._redis.unlink(f"profile:{key}")  # that it was absent
        assert rows.get(key) == profiles.get(key)


def test_composite_keys_and_excluded_columns_and_rows_that_never_changed(
    database: str, connection: psycopg.Connection, cache: Cache, client: redis.Redis
) -> None:
    connection.execute("CREATE TABLE pair (a int, b text, secret text, PRIMARY KEY (a, b))")
    connection.execute("INSERT INTO pair VALUES (1, 'x', 'never shown')")
    install(database, "pair", exclude=["secret"])
    cache = Cache(cache.redis_url, "pair")
    carry(database, cache)
    (filled,) = (client.hgetall(name) for name in client.keys("pair:*"))
    client.unlink(*client.keys("pair:*"))
    with Watched(database, cache) as rows:
        for _ in range(2):
            assert rows.get('[1, "x"]') == {"a": 1, "b": "x"}
            for odd in ('[1,"x"]', '["1", "x"]', "[1]", "[]", "no JSON", "7", '["a", "b"]'):
                assert rows.get(odd) is None, f"{odd} is no key of a row"
        assert rows.reads.count('[1, "x"]') == 1
    assert client.hgetall('pair:[1, "x"]') == filled


def test_a_cache_that_nobody_has_filled_stays_empty(
    database: str, cache: Cache, client: redis.Redis, profiles: Profiles
) -> None:
    profiles.increment("ada", "likes")
    with Watched(database, cache) as rows:
        assert rows.get("ada") == profiles.get("ada")
    assert client.keys() == []


def test_a_table_that_is_not_captured_is_an_error_and_one_made_anew_is_none(
    database: str, connection: psycopg.Connection, rows: Watched, profiles: Profiles
) -> None:
    assert rows.get("ada") is None
    uninstall(database)
    with pytest.raises(NotCapturedError):
        rows.get("bob")
    install(database)
    profiles.increment("bob", "likes")
    assert rows.get("bob") == profiles.get("bob")
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE '%demo read%'"
    )
    assert rows.get("eve") is None


# What happens between the read and the storing


@pytest.fixture
def race(
    database: str, cache: Cache, rows: Watched, profiles: Profiles
) -> Callable[[Callable[[], object]], None]:
    """Have `ada` read, then something happen, then stored; all must be equal in the end."""

    def race(meanwhile: Callable[[], object]) -> None:
        profiles.increment("ada", "likes")
        rows.meanwhile = meanwhile
        rows.get("ada")
        rows.meanwhile = lambda: None
        carry(database, cache)
        agree(database, cache)

    return race


def test_it_is_changed_meanwhile(
    database: str, cache: Cache, race: Any, profiles: Profiles
) -> None:
    race(lambda: (profiles.increment("ada", "likes"), carry(database, cache)))
    assert cache.get("ada")["likes_count"] == 2


def test_it_is_changed_meanwhile_and_the_listener_is_late(race: Any, profiles: Profiles) -> None:
    race(lambda: profiles.increment("ada", "likes"))


def test_it_is_deleted_meanwhile(
    database: str, cache: Cache, race: Any, profiles: Profiles
) -> None:
    race(lambda: (profiles.delete("ada"), carry(database, cache)))
    assert cache.get("ada") is None


def test_it_is_deleted_meanwhile_and_its_tombstone_is_gone_before_it_is_stored(
    database: str, valkey_url: str, client: redis.Redis, profiles: Profiles
) -> None:
    cache = Cache(valkey_url, tombstone_life=0.2)
    carry(database, cache)
    profiles.increment("ada", "likes")

    def outlast() -> None:
        profiles.delete("ada")
        carry(database, cache)
        until("the tombstone is gone", lambda: not client.exists("profile:ada"))

    with Watched(database, cache) as rows:
        rows.meanwhile = outlast
        assert rows.get("ada")["likes_count"] == 1
    agree(database, cache)


def test_an_older_tombstone_comes_meanwhile_whose_life_it_does_not_inherit(
    cache: Cache, client: redis.Redis, race: Any
) -> None:
    def bury() -> None:
        epoch = client.hget("reactive_demo:feed:profile", "epoch")
        client.hset("profile:ada", mapping={"version": f"{epoch}:0"})
        client.expire("profile:ada", 600)

    race(bury)
    assert cache.get("ada")["likes_count"] == 1
    assert client.pttl("profile:ada") == -1


def test_the_cache_is_filled_again_meanwhile(
    database: str, cache: Cache, race: Any, profiles: Profiles
) -> None:
    def resync() -> None:
        profiles.delete("ada")
        cache.forget_cursor()
        carry(database, cache)

    race(resync)


def test_redis_is_emptied_meanwhile(
    database: str, cache: Cache, client: redis.Redis, race: Any, profiles: Profiles
) -> None:
    def flush() -> None:
        profiles.delete("ada")
        carry(database, cache)
        client.flushall()

    race(flush)
    assert cached(cache) == {}


def test_another_database_is_followed_meanwhile(
    cache: Cache, client: redis.Redis, rows: Watched, profiles: Profiles
) -> None:
    profiles.increment("ada", "likes")
    epoch = client.hget("reactive_demo:feed:profile", "epoch")
    client.hset("reactive_demo:feed:profile", "incarnation", "another")
    assert rows.get("ada") == profiles.get("ada")
    assert client.hget("reactive_demo:feed:profile", "epoch") == epoch
    assert cached(cache) == {}


def test_the_table_is_truncated_meanwhile_which_waits(
    database: str, connection: psycopg.Connection, race: Any, cache: Cache
) -> None:
    with ThreadPoolExecutor(1) as elsewhere:
        truncated = []

        def truncate() -> None:
            truncated.append(elsewhere.submit(connection.execute, "TRUNCATE public.profile"))
            with psycopg.connect(database, autocommit=True) as other:
                until(
                    "it waits",
                    lambda: other.execute(
                        "SELECT FROM pg_locks WHERE NOT granted"
                        " AND relation = 'public.profile'::regclass"
                    ).fetchall(),
                )

        race(truncate)
        truncated[0].result(10)
    carry(database, cache)
    agree(database, cache)
    assert cached(cache) == {}


LOADER = """
import sys, time
from reactive_demo import Cache, ReadThrough
class Hangs(ReadThrough):
    def _read(self, key, store):
        def hang(*_):
            print("read", flush=True)
            time.sleep(60)
        return super()._read(key, hang)
Hangs(sys.argv[1], Cache(sys.argv[2])).get("ada")
"""


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.long)]
)
def test_a_loader_that_dies_or_freezes_holds_nobody_up_for_long(
    database: str, cache: Cache, rows: Watched, profiles: Profiles, how: signal.Signals
) -> None:
    profiles.increment("ada", "likes")
    words = [sys.executable, "-c", LOADER, database, cache.redis_url]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as loader:
        try:
            assert loader.stdout.readline() == "read\n"
            loader.send_signal(how)
            with ThreadPoolExecutor(10) as waiting:
                found = list(waiting.map(lambda _: rows.get("ada"), range(10)))
        finally:
            loader.kill()
    assert found == [profiles.get("ada")] * 10
    assert rows.reads == ["ada"]
    assert cache.get("ada") == profiles.get("ada")


@pytest.mark.usefixtures("rows")
def test_a_caller_that_waits_too_long_reads_and_stores_nothing(
    database: str, cache: Cache, client: redis.Redis, profiles: Profiles
) -> None:
    profiles.increment("ada", "likes")
    client.set("reactive_demo:load:profile:ada", "another's")
    with ReadThrough(database, cache, wait_timeout=0.05) as rows:
        assert rows.get("ada") == profiles.get("ada")
    assert client.exists("profile:ada") == 0


def test_an_error_lets_the_next_try(rows: Watched, profiles: Profiles, client: redis.Redis) -> None:
    def fail() -> None:
        raise RuntimeError("on the way")

    profiles.increment("ada", "likes")
    rows.meanwhile = fail
    with pytest.raises(RuntimeError):
        rows.get("ada")
    assert client.exists("reactive_demo:load:profile:ada") == 0
    rows.meanwhile = lambda: None
    assert rows.get("ada") == profiles.get("ada")


def test_what_the_cache_holds_needs_no_database(
    cache: Cache, rows: Watched, profiles: Profiles, client: redis.Redis
) -> None:
    profiles.increment("ada", "likes")
    assert rows.get("ada") == profiles.get("ada")
    with ReadThrough("postgresql://127.0.0.1:1/nothing", cache) as alone:
        assert alone.get("ada") == profiles.get("ada")
        with pytest.raises(psycopg.OperationalError):
            alone.get("bob")
    assert client.exists("reactive_demo:load:profile:bob") == 0


@pytest.mark.parametrize("rounds", [2, pytest.param(25, marks=pytest.mark.long)])
def test_readers_writers_and_evictions_end_with_the_cache_equal_to_the_table(
    database: str, cache: Cache, client: redis.Redis, listen: Listen, rounds: int
) -> None:
    listen(database, cache)
    over = threading.Event()

    def read(seed: int) -> int:
        choose, count = random.Random(seed), 0
        with ReadThrough(database, cache, absent_life=0.05) as rows:
            while not over.is_set():
                key = f"user {choose.randrange(200)}"
                rows.get(key)
                evict(client, key)
                count += 1
        return count

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read, seed) for seed in range(4)]
        try:
            with Traffic(database) as traffic:
                for disturb in (client.flushall, cache.forget_cursor) * rounds:
                    traffic.flow(200)
                    disturb()
                traffic.flow(200)
        finally:
            over.set()
        assert all(reader.result(10) for reader in readers)
    with ReadThrough(database, cache) as rows, psycopg.connect(database) as connection:
        # What was evicted is not the listener's to bring.
        for (key,) in connection.execute("SELECT username FROM public.profile").fetchall():
            rows.get(key)
    agree(database, cache)


def test_a_pooler_may_lend_its_sessions_and_gets_them_back_as_they_were(
    database: str, cache: Cache, profiles: Profiles
) -> None:
    names = [f"user {n}" for n in range(20)]
    for name in names:
        profiles.increment(name, "likes")
    asked = ("TimeZone", "search_path", "statement_timeout", "row_security", "jit")
    query = f"SELECT {', '.join(f'current_setting({name!r})' for name in asked)}"
    with psycopg.connect(database) as connection:
        before = connection.execute(query.encode()).fetchone()
    with Pooler(database, sessions=2) as pooler, ReadThrough(pooler.url, cache) as rows:
        with ThreadPoolExecutor(4) as readers:
            found = list(readers.map(rows.get, names * 3))
        with psycopg.connect(pooler.url, prepare_threshold=None) as connection:
            for _ in range(4):
                assert connection.execute(query.encode()).fetchone() == before
                connection.commit()
    assert [row["username"] for row in found] == names * 3
