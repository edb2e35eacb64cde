"""The cache: what Redis holds is what the design promises to any other client of it."""

import json
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import redis

from reactive_demo import Cache, LiveLabel
from reactive_demo.changes import Change, decode
from tools.waiting import until

ROW = {"username": "ada", "followings_count": 0, "followers_count": 0, "likes_count": 2**60}


@pytest.fixture
def cache_url(redis_url: str) -> str:
    """Both kinds of server."""
    return redis_url


def test_what_was_put_is_got_until_it_is_deleted(cache: Cache) -> None:
    assert cache.get("ada") is None
    cache.put([Change("ada", ROW)])
    assert cache.get("ada") == ROW
    cache.put([Change("ada", None)])
    assert cache.get("ada") is None


def test_many_rows_are_got_in_one_round_trip_and_what_is_no_row_is_none(
    cache: Cache, client: redis.Redis
) -> None:
    cache.put([Change("ada", ROW), Change("bob", None)])
    client.set("profile:eve", "not even a hash")
    assert cache.get_many(["ada", "bob", "eve"]) == {"ada": ROW, "bob": None, "eve": None}
    assert cache.get_many([]) == {}


def test_numbers_keep_their_digits_whoever_hands_them_out(
    cache: Cache, client: redis.Redis
) -> None:
    text = '{"username":"ada","n":12345678901234567.8912345678,"big":9007199254740993,"x":1e400}'
    change = decode(f'{{"operation":"INSERT","row":{text}}}', "username")
    exact = {
        "username": "ada",
        "n": Decimal("12345678901234567.8912345678"),
        "big": 9007199254740993,
        "x": Decimal("1e400"),
    }
    told: list[Any] = []
    subscription = cache.subscribe("ada", told.append)
    until("the absence is told", lambda: told == [None])
    label = LiveLabel(cache, "ada", "n")
    cache.put([change])
    until("the row is told", lambda: told == [None, exact])
    until("it is shown", lambda: label.value == "12345678901234567.8912345678")
    assert cache.get("ada") == cache.get_many(["ada"])["ada"] == exact
    assert json.loads(client.hget("profile:ada", "row"), parse_float=Decimal) == exact
    subscription.close()
    label.close()


def test_a_row_is_a_hash_named_by_table_and_key(cache: Cache, client: redis.Redis) -> None:
    cache.put([Change("ada", ROW)])
    assert client.keys() == ["profile:ada"]
    assert client.type("profile:ada") == "hash"
    assert json.loads(client.hget("profile:ada", "row")) == ROW


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change("ada", ROW), {"version": None, "row": ROW}),
        (Change("ada", None), {"version": None, "row": None}),
    ],
    ids=["written", "deleted"],
)
def test_a_change_is_published_on_the_channel_named_as_the_key(
    cache: Cache, client: redis.Redis, change: Change, message: dict
) -> None:
    with client.pubsub() as ear:
        ear.subscribe("profile:ada")
        assert ear.get_message(timeout=5)["type"] == "subscribe"
        cache.put([change])
        assert json.loads(ear.get_message(timeout=5)["data"]) == {**message, "db": cache.db}


def test_a_subscriber_that_hears_a_change_finds_it_in_the_cache(
    cache: Cache, client: redis.Redis
) -> None:
    with client.pubsub() as ear:
        ear.subscribe("profile:ada")
        assert ear.get_message(timeout=5)["type"] == "subscribe"
        for likes in range(100):
            cache.put([Change("ada", {"likes_count": likes})])
            heard = json.loads(ear.get_message(timeout=5)["data"])["row"]["likes_count"]
            assert heard == likes
            assert cache.get("ada")["likes_count"] >= heard


def test_a_change_without_a_version_is_written_whatever_is_there(
    cache: Cache, client: redis.Redis
) -> None:
    client.hset("profile:ada", mapping={"row": '{"old": 1}', "version": "9:99"})
    client.set("profile:bob", "not even a hash")
    client.expire("profile:ada", 1000)
    cache.put([Change("ada", ROW), Change("bob", ROW)])
    assert cache.get("ada") == cache.get("bob") == ROW
    assert client.ttl("profile:ada") == -1
    assert client.hkeys("profile:ada") == ["row"]


def test_changes_are_put_in_their_order_and_none_is_nothing(cache: Cache) -> None:
    cache.put([Change("ada", {"n": 1}), Change("bob", ROW), Change("ada", {"n": 2})])
    cache.put([])
    assert (cache.get("ada"), cache.get("bob")) == ({"n": 2}, ROW)


def test_odd_keys_are_keys_like_others(
    cache: Cache, client: redis.Redis, odd_names: list[str]
) -> None:
    cache.put(Change(name, {"username": name}) for name in odd_names)
    assert sorted(client.keys()) == sorted(f"profile:{name}" for name in odd_names)
    assert [cache.get(name) for name in odd_names] == [{"username": name} for name in odd_names]


def test_tables_do_not_meet(redis_url: str, cache: Cache) -> None:
    other = Cache(redis_url, table="account")
    other.put([Change("ada", {"n": 1})])
    assert cache.get("ada") is None
    assert other.get("ada") == {"n": 1}
    other.close()


def test_it_never_touches_postgresql(
    cache: Cache, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the cache asked PostgreSQL")

    monkeypatch.setattr(psycopg, "connect", refuse)
    monkeypatch.setattr(psycopg.Connection, "connect", refuse)
    rows: list = []
    subscription = cache.subscribe("ada", rows.append)
    until("the absence is told", lambda: rows == [None])
    cache.put([Change("ada", ROW)])
    until("the row is told", lambda: rows == [None, ROW])
    assert cache.get("ada") == ROW
    client.delete("profile:ada")
    assert cache.get("ada") is None, "what is not cached stays so"
    subscription.close()


def test_a_server_that_restarted_does_not_break_the_next_call(own_redis: Any) -> None:
    cache = Cache(own_redis.url)
    cache.put([Change("ada", ROW)])
    own_redis.stop()
    with pytest.raises(redis.ConnectionError):
        cache.get("ada")
    own_redis.start()
    assert cache.get("ada") is None
    cache.put([Change("ada", ROW)])
    own_redis.stop()
    own_redis.start()
    cache.put([Change("ada", ROW)])
    assert cache.get("ada") == ROW


def test_a_frozen_server_is_given_up_and_its_late_answer_misleads_nobody(own_redis: Any) -> None:
    cache = Cache(f"{own_redis.url}?socket_timeout=0.2")
    cache.put([Change("ada", {"n": 1}), Change("bob", {"n": 2})])
    own_redis.freeze()
    with pytest.raises(redis.TimeoutError):
        cache.get("ada")
    own_redis.thaw()
    assert cache.get("bob") == {"n": 2}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://ada:secret@example.org:7000/2", "example.org:7000/2"),
        ("redis://example.org", "example.org:6379/0"),
        ("unix:///tmp/redis.sock?db=3", "/tmp/redis.sock/3"),
    ],
)
def test_its_name_tells_server_and_database_and_no_secret(url: str, name: str) -> None:
    assert Cache(url).name == name
