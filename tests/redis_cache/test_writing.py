"""The cache's scripts: nothing old is written, by whomever, whenever it comes."""

import json
from dataclasses import replace

import pytest
import redis

from reactive_demo import Cache
from reactive_demo.changes import Batch, Change, Lease, State, Versioned
from reactive_demo.errors import FencedError, RefusedError
from tools.agreement import cached


@pytest.fixture
def lease(cache: Cache) -> Lease:
    """The lease of a leader."""
    return cache.acquire_lease("a database")


def write(cache: Cache, lease: Lease, sequence: int, *changes: Versioned, **more: str) -> int:
    """Write the batch that comes after `sequence` others."""
    return cache.write(Batch(State.LIVE, changes, **more), replace(lease, sequence=sequence))


def row(n: int) -> str:
    return f'{{"n": {n}}}'


def test_a_repeated_batch_is_refused_and_changes_nothing(cache: Cache, lease: Lease) -> None:
    first = (0, Versioned("ada", row(1), "1"))
    assert write(cache, lease, *first) == 1
    with pytest.raises(FencedError):
        write(cache, lease, *first)
    write(cache, lease, 1, Versioned("ada", row(2), "2"))
    with pytest.raises(FencedError):
        write(cache, lease, *first)
    assert cached(cache) == {"ada": {"n": 2}}


def test_an_older_version_is_not_written(cache: Cache, lease: Lease) -> None:
    for sequence, version in enumerate(("9", "10", "9", "10", "9007199254740993")):
        write(cache, lease, sequence, Versioned("ada", row(int(version)), version))
    assert cached(cache) == {"ada": {"n": 9007199254740993}}
    assert write(cache, lease, 5, Versioned("ada", row(0), "9007199254740992")) == 0
    assert write(cache, lease, 6, Versioned("ada", None, "9007199254740992")) == 0
    assert cached(cache) == {"ada": {"n": 9007199254740993}}


def test_a_fenced_leaders_batch_is_refused_whatever_its_version(cache: Cache, lease: Lease) -> None:
    newer = cache.acquire_lease("a database")
    for late in (
        Batch(State.LIVE, [Versioned("ada", row(99), "99")]),
        Batch(State.LIVE, evict_below="99"),
        Batch(State.LIVE, cursor="1:1:"),
    ):
        write(cache, newer, 0, Versioned("ada", row(1), "1"))
        with pytest.raises(FencedError):
            cache.write(late, lease)
        assert cached(cache) == {"ada": {"n": 1}}
        assert not cache.has_cursor()
        newer = cache.acquire_lease("a database")


def test_a_batch_whose_predecessor_was_lost_is_refused(cache: Cache, lease: Lease) -> None:
    """So it is when Redis comes back with what it had a while ago."""
    write(cache, lease, 0, Versioned("ada", row(1), "1"))
    with pytest.raises(FencedError):
        write(cache, lease, 2, Versioned("bob", row(3), "3"))


def test_a_part_of_a_batch_is_followed_by_the_rest_of_it(cache: Cache, lease: Lease) -> None:
    for n in (1, 2):
        part = Batch(State.LIVE, [Versioned("ada", row(n), str(n))])
        assert cache.write(part, lease, partial=True) == 1
    assert write(cache, lease, 0, Versioned("bob", row(3), "3")) == 1
    with pytest.raises(FencedError):
        cache.write(part, lease, partial=True)
    assert write(cache, lease, 1, Versioned("bob", row(4), "4")) == 1


def test_an_emptied_redis_refuses(cache: Cache, client: redis.Redis, lease: Lease) -> None:
    write(cache, lease, 0, Versioned("ada", row(1), "1"))
    client.flushall()
    with pytest.raises(FencedError):
        write(cache, lease, 1, cursor="1:1:")
    assert client.keys() == []


def test_a_tombstone_keeps_an_older_row_out_and_a_newer_row_outlives_it(
    cache: Cache, client: redis.Redis, lease: Lease
) -> None:
    write(cache, lease, 0, Versioned("ada", None, "5"))
    assert 0 < client.pttl("profile:ada") <= 1000 * cache.tombstone_life
    assert write(cache, lease, 1, Versioned("ada", row(4), "4")) == 0
    assert cache.get("ada") is None
    assert write(cache, lease, 2, Versioned("ada", row(6), "6")) == 1
    assert client.pttl("profile:ada") == -1


def test_a_new_incarnation_replaces_rows_of_higher_versions_and_removes_the_rest(
    cache: Cache, lease: Lease
) -> None:
    both = [Versioned(key, row(9), "9") for key in ("ada", "bob")]
    write(cache, lease, 0, *both, cursor="7:7:")
    restored = cache.acquire_lease("another database")
    assert restored.cursor is None
    write(cache, restored, 0, Versioned("ada", row(1), "1"))
    write(cache, restored, 1, evict_below="0")
    assert cached(cache) == {"ada": {"n": 1}}


SYSTEM = "7300000000000000001"


def incarnation(oid: int = 5, timeline: str = "00000002", system: str = SYSTEM) -> str:
    return f"{system}/{oid}/{timeline}/a-capture/a-fingerprint"


@pytest.mark.parametrize(
    "other", [incarnation(oid=6), incarnation(system="8")], ids=["database", "server"]
)
def test_another_databases_cache_is_left_alone_while_its_leader_lives(
    cache: Cache, client: redis.Redis, other: str
) -> None:
    first = cache.acquire_lease(incarnation())
    write(cache, first, 0, Versioned("ada", row(1), "1"), cursor="7:7:")
    before = client.hgetall(cache._feed)
    for _ in range(2):
        with pytest.raises(RefusedError, match="Another database wrote the keys profile:"):
            cache.acquire_lease(other, new_epoch=True)
    assert client.hgetall(cache._feed) == before
    client.hincrby(cache._feed, "alive", -15)
    second = cache.acquire_lease(other)
    assert (second.cursor, int(second.epoch) > int(first.epoch)) == (None, True)
    with pytest.raises(FencedError):
        write(cache, first, 1)
    with pytest.raises(RefusedError):
        cache.acquire_lease(incarnation())
    asked_for = cache.acquire_lease(incarnation(), whatever_database=True)
    assert (asked_for.cursor, int(asked_for.epoch) > int(second.epoch)) == (None, True)


def test_a_former_primary_that_comes_back_is_not_followed_unasked(
    cache: Cache, client: redis.Redis
) -> None:
    lease = cache.acquire_lease(incarnation(timeline="0000000A"))
    write(cache, lease, 0, Versioned("ada", row(1), "1"), cursor="7:7:")
    client.hincrby(cache._feed, "alive", -1_000_000)
    with pytest.raises(RefusedError, match=r"timeline 0000000A, and .* an earlier one, 00000009"):
        cache.acquire_lease(incarnation(timeline="00000009"))
    assert cache.acquire_lease(incarnation(timeline="0000000A")).cursor == "7:7:"
    assert cache.acquire_lease(incarnation(timeline="0000000B")).cursor is None
    cache.forget_cursor()
    assert cache.acquire_lease(incarnation(timeline="00000009")).cursor is None


def test_epochs_grow_even_if_only_their_hash_is_lost(cache: Cache, client: redis.Redis) -> None:
    for _ in range(3):
        lease = cache.acquire_lease("a database", new_epoch=True)
    client.hset(cache._feed, "epoch", str(int(lease.epoch) - 10))  # ten seconds ago
    old = cache.acquire_lease("a database")
    write(cache, old, 0, Versioned("ada", row(9), "9"))
    client.delete(cache._feed)
    new = cache.acquire_lease("a database")
    assert int(new.epoch) > int(old.epoch)
    assert write(cache, new, 0, Versioned("ada", row(1), "1")) == 1


def test_a_cache_of_an_older_release_is_filled_again(
    cache: Cache, client: redis.Redis, lease: Lease
) -> None:
    """It kept the epoch in a field of its own, and had the same fields in the feed's hash."""
    write(cache, lease, 0, cursor="7:9:8")
    client.hdel(cache._feed, "layout")
    for key, fields in {"ada": {"row": row(1)}, "bob": {}, "eve": {"row": row(1)}}.items():
        client.hset(f"profile:{key}", mapping={**fields, "epoch": lease.epoch, "version": "99"})
    client.expire("profile:bob", 600)
    new = cache.acquire_lease("a database")
    assert (new.cursor, int(new.epoch) > int(lease.epoch)) == (None, True)
    with pytest.raises(TimeoutError):
        cache.wait_for("ada", 1, timeout=0)
    both = [Versioned("ada", row(2), "2"), Versioned("bob", row(2), "2")]
    assert write(cache, new, 0, *both) == 2
    write(cache, new, 1, evict_below="0", cursor="7:9:8")
    assert client.hgetall("profile:ada") == {"row": row(2), "version": f"{new.epoch}:2"}
    assert client.pttl("profile:bob") == -1
    assert cached(cache) == {"ada": {"n": 2}, "bob": {"n": 2}}
    cache.wait_for("ada", 2, timeout=0)
    assert cache.acquire_lease("a database").cursor == "7:9:8"


def test_to_wait_for_a_version_is_to_wait_for_that_of_this_epoch(
    cache: Cache, client: redis.Redis, lease: Lease
) -> None:
    write(cache, lease, 0, Versioned("ada", row(9), "9"))
    cache.wait_for("ada", 9, timeout=0)
    restored = cache.acquire_lease("another database")
    with pytest.raises(TimeoutError, match="version 3 of ada"):
        cache.wait_for("ada", 3, timeout=0)
    write(cache, restored, 0, Versioned("ada", row(3), "3"))
    cache.wait_for("ada", 3, timeout=0)
    client.hset("profile:ada", "version", "9" * 5000)
    with pytest.raises(TimeoutError):
        cache.wait_for("ada", 3, timeout=0)


def test_what_others_put_under_a_rows_name_is_replaced(
    cache: Cache, client: redis.Redis, lease: Lease
) -> None:
    client.set("profile:ada", "hello")
    client.rpush("profile:bob", "hello")
    client.set("profile:eve", "hello")
    changes = [Versioned("ada", row(1), "1"), Versioned("bob", None, "2")]
    assert write(cache, lease, 0, *changes) == 2
    write(cache, lease, 1, evict_below="0")
    assert cache.get("ada") == {"n": 1}
    assert cache.get("bob") is None
    assert client.get("profile:eve") == "hello", "a sweep removes nothing but rows"


@pytest.mark.parametrize("below", ["0", "7"], ids=["after a fill", "after a truncation"])
def test_rows_without_a_version_leave_with_those_of_older_epochs(
    cache: Cache, client: redis.Redis, lease: Lease, below: str
) -> None:
    """NotifyFeed wrote them; a key that only begins like theirs is somebody else's, and stays."""
    cache.put([Change("gone", {"n": 1}), Change("kept", {"n": 1})])
    others = {
        "statistics": {"row": '{"n": 1}', "rows": "2"},
        "seat": {"row": "F"},
        "price": {"version": "3"},
        "report": {"version": "3", "row": "{}"},
        "issue": {"version": "x", "epoch": "y"},
    }
    for name, fields in others.items():
        client.hset(f"profile:{name}", mapping=fields)
    client.set("profile:text", '{"row": 1}')
    client.zadd("profile:ranks", {"ada": 1})
    with client.pubsub() as ear:
        ear.subscribe("profile:gone")
        assert ear.get_message(timeout=5)["type"] == "subscribe"
        write(cache, lease, 0, Versioned("kept", row(2), "9"))
        write(cache, lease, 1, evict_below=below)
        message = json.loads(ear.get_message(timeout=5)["data"])
    assert (message["version"], message["row"]) == (None, None)
    left = {*others, "text", "ranks", "kept"}
    assert set(client.keys("profile:*")) == {f"profile:{name}" for name in left}
    assert cache.get("kept") == {"n": 2}


def test_the_cursor_moves_with_the_data(cache: Cache, lease: Lease) -> None:
    write(cache, lease, 0, Versioned("ada", row(1), "1"))
    assert not cache.has_cursor()
    write(cache, lease, 1, cursor="7:9:8")
    assert cache.acquire_lease("a database").cursor == "7:9:8"


def test_a_term_is_newer_than_all_before_it_also_after_a_flush(
    cache: Cache, client: redis.Redis
) -> None:
    terms = [cache.leaders.open_term("kind") for _ in range(3)]
    client.flushall()
    assert cache.leaders.current_term("kind") == 0
    terms.append(cache.leaders.open_term("kind"))
    assert terms == sorted(set(terms))
    assert (cache.leaders.current_term("kind"), cache.leaders.current_term("another")) == (
        terms[-1],
        0,
    )


def test_a_write_that_was_begun_is_the_same_write(
    cache: Cache, client: redis.Redis, lease: Lease
) -> None:
    def batch(n: int) -> Batch:
        return Batch(State.CATCHING_UP, [Versioned("ada", row(n), str(n))])

    client.script_flush()
    with pytest.raises(redis.exceptions.NoScriptError):
        cache.begin_write(batch(1), lease)()
    cache.write(Batch(State.LIVE), lease, partial=True)
    for n in range(3):
        finish = cache.begin_write(batch(n + 1), replace(lease, sequence=n))
        assert finish() == 1
    late = cache.begin_write(batch(9), lease)
    with pytest.raises(FencedError):
        late()
    assert cache.get("ada") == {"n": 3}
