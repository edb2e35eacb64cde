"""Subscribers of the cache: told at once, told again after losses, and silent in between."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import ipywidgets
import pytest
import redis

from reactive_demo import Cache, LiveLabel
from reactive_demo.changes import Change
from tools.waiting import until

NEVER = 3600.0


class Viewer(list):
    """What a subscription was told, in order."""

    def __init__(self, cache: Cache, key: str = "ada") -> None:
        super().__init__()
        self._subscription = cache.subscribe(key, self.append)

    def sees(self, row: Any) -> None:
        until(f"the viewer is told {row}", lambda: self and self[-1] == row)

    def close(self) -> None:
        self._subscription.close()


@pytest.fixture
def cache(redis_url: str) -> Iterator[Cache]:
    """A cache of either kind of server, which tells everything without the help of a poll."""
    watched = Cache(redis_url, poll_interval=NEVER)
    yield watched
    for subscription in list(watched._watcher._subscriptions):
        subscription.close()
    until("the thread ended", lambda: watched._watcher._thread is None)
    watched.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Any Redis client."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as plain:
        yield plain


def test_the_present_row_each_change_and_the_deletion_are_told(cache: Cache) -> None:
    cache.put([Change("ada", {"n": 0})])
    viewer = Viewer(cache)
    viewer.sees({"n": 0})
    for n in (1, 2):
        cache.put([Change("ada", {"n": n})])
        viewer.sees({"n": n})
    cache.put([Change("ada", None)])
    viewer.sees(None)
    cache.put([Change("ada", {"n": 3})])
    viewer.sees({"n": 3})
    assert viewer == [{"n": 0}, {"n": 1}, {"n": 2}, None, {"n": 3}]


def test_the_absence_of_a_row_is_told(cache: Cache) -> None:
    Viewer(cache).sees(None)


def test_a_second_subscriber_of_a_key_is_told_the_row_and_the_first_not_again(cache: Cache) -> None:
    cache.put([Change("ada", {"n": 1})])
    first = Viewer(cache)
    first.sees({"n": 1})
    second = Viewer(cache)
    second.sees({"n": 1})
    cache.put([Change("ada", {"n": 2})])
    first.sees({"n": 2})
    second.sees({"n": 2})
    assert first == second == [{"n": 1}, {"n": 2}]


def test_a_closed_subscription_is_told_nothing_more(cache: Cache) -> None:
    closed, open_ = Viewer(cache), Viewer(cache)
    closed.sees(None)
    open_.sees(None)
    closed.close()
    closed.close()
    cache.put([Change("ada", {"n": 1})])
    open_.sees({"n": 1})
    assert closed == [None]


def test_the_thread_ends_with_the_last_subscription_and_starts_with_the_next(
    cache: Cache, client: redis.Redis
) -> None:
    for n in (1, 2):
        cache.put([Change("ada", {"n": n})])
        viewers = [Viewer(cache), Viewer(cache, "bob")]
        viewers[0].sees({"n": n})
        thread = cache._watcher._thread
        for viewer in viewers:
            viewer.close()
        thread.join(5)
        assert not thread.is_alive()
        until("nobody listens", lambda: client.pubsub_channels() == [])


def test_keys_nobody_watches_any_more_are_unsubscribed(cache: Cache, client: redis.Redis) -> None:
    ada, bob = Viewer(cache), Viewer(cache, "bob")
    ada.sees(None)
    bob.sees(None)
    bob.close()
    until("only ada is followed", lambda: client.pubsub_channels() == ["profile:ada"])


def test_odd_keys_are_watched_like_others(cache: Cache, odd_names: list[str]) -> None:
    viewers = {name: Viewer(cache, name) for name in odd_names}
    for viewer in viewers.values():
        viewer.sees(None)
    cache.put(Change(name, {"username": name}) for name in odd_names)
    for name, viewer in viewers.items():
        viewer.sees({"username": name})


def test_after_a_lost_connection_the_right_row_is_told(cache: Cache, client: redis.Redis) -> None:
    cache.put([Change("ada", {"n": 1})])
    viewer = Viewer(cache)
    viewer.sees({"n": 1})
    with client.pipeline(transaction=True) as batch:  # nobody can subscribe again in between
        batch.execute_command("CLIENT KILL", "TYPE", "pubsub")
        batch.hset("profile:ada", "row", json.dumps({"n": 2}))
        batch.publish("profile:ada", json.dumps({"version": None, "row": {"n": 2}}))
        killed, _, heard_by = batch.execute()
    assert (killed, heard_by) == (1, 0)
    viewer.sees({"n": 2})
    cache.put([Change("ada", {"n": 3})])
    viewer.sees({"n": 3})


def test_a_server_that_restarts_is_found_again(own_redis: Any) -> None:
    cache = Cache(own_redis.url, poll_interval=NEVER)
    cache.put([Change("ada", {"n": 1})])
    viewer = Viewer(cache)
    viewer.sees({"n": 1})
    own_redis.stop()
    own_redis.start()
    viewer.sees(None)
    cache.put([Change("ada", {"n": 2})])
    viewer.sees({"n": 2})
    viewer.close()


def test_a_callback_that_raises_hurts_nobody_else(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(row: Any) -> None:
        raise RuntimeError(f"cannot show {row}")

    cache.subscribe("ada", broken)
    viewer = Viewer(cache)
    viewer.sees(None)
    cache.put([Change("ada", {"n": 1})])
    viewer.sees({"n": 1})
    assert "cannot show {'n': 1}" in caplog.text


def test_what_others_wrote_and_said_starves_no_label(cache: Cache, client: redis.Redis) -> None:
    client.set("profile:text", "hello")
    client.hset("profile:text row", "row", "hello")
    client.hset("profile:bytes", "row", b"\xff\xfe")
    client.hset("profile:deep", "row", "[" * 100_000)
    client.hset("profile:wrong field", "rows", "{}")
    odd = ["text", "text row", "bytes", "deep", "wrong field"]
    viewers = {key: Viewer(cache, key) for key in [*odd, "ada"]}
    viewers["ada"].sees(None)
    for message in (b"hello", b"\xff", b"7", b"{}", b"[]", b"[" * 100_000):
        for key in viewers:
            client.publish(f"profile:{key}", message)
    cache.put([Change(key, {"n": 1}) for key in viewers])
    for viewer in viewers.values():
        viewer.sees({"n": 1})


def test_a_message_that_is_none_makes_the_watcher_look_for_itself(
    cache: Cache, client: redis.Redis
) -> None:
    viewer = Viewer(cache)
    viewer.sees(None)
    client.hset("profile:ada", "row", '{"n": 1}')
    client.publish("profile:ada", "look!")
    viewer.sees({"n": 1})


def test_a_message_of_another_database_of_this_redis_is_not_believed(
    cache: Cache, client: redis.Redis
) -> None:
    """Its channels are those of all databases."""
    cache.put([Change("ada", {"n": 1})])
    viewer = Viewer(cache)
    viewer.sees({"n": 1})
    place = dict(cache._redis.get_connection_kwargs())
    path = place.get("path")
    foreign = Cache(f"unix://{path}?db=1")
    with client.pubsub() as ear:
        ear.subscribe("profile:ada")
        until("it is subscribed", lambda: ear.get_message(timeout=1))
        foreign.put([Change("ada", {"n": 666})])
        assert json.loads(ear.get_message(timeout=5)["data"])["db"] == 1
    cache.put([Change("ada", {"n": 2})])
    viewer.sees({"n": 2})
    assert viewer == [{"n": 1}, {"n": 2}]
    foreign._redis.flushdb()


@pytest.mark.parametrize("rights", ["resetchannels", "-subscribe"])
def test_a_viewer_without_rights_to_the_channels_polls(
    own_redis: Any, caplog: pytest.LogCaptureFixture, rights: str
) -> None:
    writer = Cache(own_redis.url)
    writer._redis.execute_command(
        *("ACL", "SETUSER", "viewer", "on", "nopass", "+@all", "~*", "&*", rights)
    )
    cache = Cache(own_redis.url.replace("unix://", "unix://viewer@"), poll_interval=0.1)
    viewer, other = Viewer(cache), Viewer(cache, "bob")
    viewer.sees(None)
    other.sees(None)
    for n in range(3):
        writer.put([Change("ada", {"n": n})])
        viewer.sees({"n": n})
    assert caplog.text.count("may not subscribe") == 1, "it says so once"
    viewer.close()
    other.close()
    until("the thread ended", lambda: cache._watcher._thread is None)


def test_a_flood_on_one_key_starves_no_other(cache: Cache, client: redis.Redis) -> None:
    flooded: list[Any] = []
    over = threading.Event()

    def told(row: Any) -> None:
        """Publish the next message before this one is done with: there always is one more."""
        ahead = 1 if flooded else 100
        flooded.append(row)
        for n in range(0 if over.is_set() else ahead):
            client.hset("profile:flooded", "row", json.dumps({"n": [len(flooded), n]}))
            client.publish("profile:flooded", "look!")

    cache.subscribe("flooded", told)
    until("the flood is on", lambda: len(flooded) > 200)
    viewer = Viewer(cache)  # comes while the flood is on
    viewer.sees(None)
    cache.put([Change("ada", {"n": 1})])
    viewer.sees({"n": 1})
    seen = len(flooded)
    until("the flood is still on", lambda: len(flooded) > seen)
    over.set()


def test_a_change_that_was_never_published_is_found_by_the_poll(
    redis_url: str, client: redis.Redis
) -> None:
    viewer = Viewer(Cache(redis_url, poll_interval=0.1))
    viewer.sees(None)
    client.hset("profile:ada", "row", json.dumps({"n": 1}))
    viewer.sees({"n": 1})
    viewer.close()


def overhear(redis_url: str, until: str) -> list[str]:
    """What the server is told until it has been told `until` three times."""
    told: list[str] = []
    with redis.Redis.from_url(redis_url, socket_timeout=5) as client, client.monitor() as monitor:
        while told.count(until) < 3:
            told.append(monitor.next_command()["command"])
    return told


def test_twenty_idle_labels_send_nothing_but_the_poll(own_redis: Any) -> None:
    names = [f"user {n}" for n in range(10)]
    idle = Cache(own_redis.url, poll_interval=NEVER)
    clock = Cache(own_redis.url, poll_interval=0.2)
    idle.put([Change(name, {"likes_count": 7}) for name in names])

    def show(cache: Cache) -> list[LiveLabel]:
        labels = [LiveLabel(cache, n, c) for n in names for c in ("likes_count", "username")]
        until("they show it", lambda: {label.value for label in labels[::2]} == {"7"})
        return labels

    labels = show(idle)
    ticking = Viewer(clock, "clock")
    ticking.sees(None)
    told = overhear(own_redis.url, until="HGET profile:clock row")
    assert set(told) == {"HGET profile:clock row"}, "the labels are silent in between"
    ticking.close()
    for label in labels:
        label.close()

    show(clock)
    told = overhear(own_redis.url, until="HGET profile:user 9 row")
    assert told[-20:] == [f"HGET profile:{name} row" for name in names] * 2, "each key once"
    ipywidgets.Widget.close_all()
    until("nobody watches", lambda: clock._watcher._thread is None)
