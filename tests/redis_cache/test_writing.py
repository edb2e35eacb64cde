"""The cache's scripts: nothing old is written, by whomever, whenever it comes."""

from dataclasses import replace

import pytest
import redis

from tools.agreement import cached
from reactive_demo import Cache
from reactive_demo.changes import Batch, Lease, State, Versioned
from reactive_demo.errors import FencedError


@pytest.fixture
def position(cache: Cache) -> Lease:
    """The place of a leader."""
    return cache.acquire_lease("a database")


def batch(position: Lease, number: int, *changes: Versioned, **more: str) -> Batch:
    return Batch(State.LIVE, changes, position=position, number=number, **more)


def row(n: int) -> str:
    return f'{{"n": {n}}}'


def test_a_repeated_batch_is_refused_and_changes_nothing(cache: Cache, position: Lease) -> None:
    first = batch(position, 1, Versioned("ada", row(1), "1"))
    assert cache.write(first) == 1
    with pytest.raises(FencedError):
        cache.write(first)
    cache.write(batch(position, 2, Versioned("ada", row(2), "2")))
    with pytest.raises(FencedError):
        cache.write(first)
    assert cached(cache) == {"ada": {"n": 2}}


def test_an_older_version_is_not_written(cache: Cache, position: Lease) -> None:
    for number, version in enumerate(("9", "10", "9", "10", "9007199254740993"), 1):
        cache.write(batch(position, number, Versioned("ada", row(int(version)), version)))
    assert cached(cache) == {"ada": {"n": 9007199254740993}}
    assert cache.write(batch(position, 6, Versioned("ada", row(0), "9007199254740992"))) == 0
    assert cache.write(batch(position, 7, Versioned("ada", None, "9007199254740992"))) == 0
    assert cached(cache) == {"ada": {"n": 9007199254740993}}


def test_a_deposed_leaders_batch_is_refused_whatever_its_version(
    cache: Cache, position: Lease
) -> None:
    newer = cache.acquire_lease("a database")
    for late in (
        batch(position, 1, Versioned("ada", row(99), "99")),
        batch(position, 1, below="99"),
        batch(position, 1, cursor="1:1:"),
    ):
        cache.write(batch(newer, 1, Versioned("ada", row(1), "1")))
        with pytest.raises(FencedError):
            cache.write(late)
        assert cached(cache) == {"ada": {"n": 1}}
        assert not cache.has_cursor()
        newer = cache.acquire_lease("a database")


def test_a_batch_whose_predecessor_was_lost_is_refused(cache: Cache, position: Lease) -> None:
    """So it is when Redis comes back with what it had a while ago."""
    cache.write(batch(position, 1, Versioned("ada", row(1), "1")))
    with pytest.raises(FencedError):
        cache.write(batch(position, 3, Versioned("bob", row(3), "3")))


def test_an_emptied_redis_refuses(cache: Cache, client: redis.Redis, position: Lease) -> None:
    cache.write(batch(position, 1, Versioned("ada", row(1), "1")))
    client.flushall()
    with pytest.raises(FencedError):
        cache.write(batch(position, 2, cursor="1:1:"))
    assert client.keys() == []


def test_a_tombstone_keeps_an_older_row_out_and_a_newer_row_outlives_it(
    cache: Cache, client: redis.Redis, position: Lease
) -> None:
    cache.write(batch(position, 1, Versioned("ada", None, "5")))
    assert 0 < client.pttl("profile:ada") <= cache.tombstone_ms
    assert cache.write(batch(position, 2, Versioned("ada", row(4), "4"))) == 0
    assert cache.get("ada") is None
    assert cache.write(batch(position, 3, Versioned("ada", row(6), "6"))) == 1
    assert client.pttl("profile:ada") == -1


def test_a_new_incarnation_replaces_rows_of_higher_versions_and_removes_the_rest(
    cache: Cache, position: Lease
) -> None:
    cache.write(
        batch(position, 1, *(Versioned(key, row(9), "9") for key in ("ada", "bob")), cursor="7:7:")
    )
    restored = cache.acquire_lease("another database")
    assert restored.cursor is None
    cache.write(batch(restored, 1, Versioned("ada", row(1), "1")))
    cache.write(batch(restored, 2, below="0"))
    assert cached(cache) == {"ada": {"n": 1}}


def test_epochs_grow_even_if_only_their_hash_is_lost(
    cache: Cache, client: redis.Redis, position: Lease
) -> None:
    for _ in range(3):
        position = cache.acquire_lease("a database", new_epoch=True)
    client.hset(cache._feed, "epoch", str(int(position.epoch) - 10))  # ten seconds ago
    old = cache.acquire_lease("a database")
    cache.write(batch(old, 1, Versioned("ada", row(9), "9")))
    client.delete(cache._feed)
    new = cache.acquire_lease("a database")
    assert int(new.epoch) > int(old.epoch)
    assert cache.write(batch(new, 1, Versioned("ada", row(1), "1"))) == 1


def test_what_others_put_under_a_rows_name_is_replaced(
    cache: Cache, client: redis.Redis, position: Lease
) -> None:
    client.set("profile:ada", "hello")
    client.rpush("profile:bob", "hello")
    client.set("profile:eve", "hello")
    changes = [Versioned("ada", row(1), "1"), Versioned("bob", None, "2")]
    assert cache.write(batch(position, 1, *changes)) == 2
    cache.write(batch(position, 2, below="0"))
    assert cache.get("ada") == {"n": 1}
    assert cache.get("bob") is None
    assert client.get("profile:eve") == "hello", "a sweep removes nothing but rows"


def test_the_cursor_moves_with_the_data(cache: Cache, position: Lease) -> None:
    cache.write(batch(position, 1, Versioned("ada", row(1), "1")))
    assert not cache.has_cursor()
    cache.write(replace(batch(position, 2), cursor="7:9:8"))
    assert cache.acquire_lease("a database").cursor == "7:9:8"
