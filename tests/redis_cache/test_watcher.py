"""Who watches the cache: told at once, told again after losses, and silent in between."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import ipywidgets
import pytest
import redis

from reactive_demo import Cache, LiveLabel
from reactive_demo.changes import Change
from reactive_demo.redis_cache import watcher as module
from reactive_demo.redis_cache.watcher import Watcher
from tools.waiting import until

NEVER = 3600.0


@pytest.fixture
def without_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """What must be told without the help of the slow poll is told without it."""
    monkeypatch.setattr(module, "POLL", NEVER)


@pytest.fixture
def cache_url(redis_url: str) -> str:
    """Both kinds of server."""
    return redis_url


class SseClient(list):
    """What a subscription was told, in order."""

    def __init__(self, watcher: Watcher, key: str = "ada") -> None:
        super().__init__()
        self._subscription = watcher.subscribe(f"profile:{key}", self.append)

    def sees(self, row: Any, timeout: float = 5) -> None:
        until(f"the viewer is told {row}", lambda: self and self[-1] == row, timeout)

    def close(self) -> None:
        self._subscription.close()


@pytest.fixture
def watcher(redis_url: str) -> Iterator[Watcher]:
    """A watcher of the test's own, whose thread ends with the test."""
    watching = Watcher(redis_url)
    yield watching
    for subscription in list(watching._subscriptions):
        subscription.close()
    until("the thread ended", lambda: watching._thread is None)


@pytest.mark.usefixtures("without_poll")
def test_the_present_row_each_change_and_the_deletion_are_told(
    cache: Cache, watcher: Watcher
) -> None:
    cache.put([Change("ada", {"n": 0})])
    viewer = SseClient(watcher)
    viewer.sees({"n": 0})
    for n in (1, 2):
        cache.put([Change("ada", {"n": n})])
        viewer.sees({"n": n})
    cache.put([Change("ada", None)])
    viewer.sees(None)
    cache.put([Change("ada", {"n": 3})])
    viewer.sees({"n": 3})
    assert viewer == [{"n": 0}, {"n": 1}, {"n": 2}, None, {"n": 3}]


@pytest.mark.usefixtures("without_poll")
def test_the_absence_of_a_row_is_told(watcher: Watcher) -> None:
    SseClient(watcher).sees(None)


@pytest.mark.usefixtures("without_poll")
def test_a_second_subscriber_of_a_key_is_told_the_row_and_the_first_not_again(
    cache: Cache, watcher: Watcher
) -> None:
    cache.put([Change("ada", {"n": 1})])
    first = SseClient(watcher)
    first.sees({"n": 1})
    second = SseClient(watcher)
    second.sees({"n": 1})
    cache.put([Change("ada", {"n": 2})])
    first.sees({"n": 2})
    second.sees({"n": 2})
    assert first == second == [{"n": 1}, {"n": 2}]


@pytest.mark.usefixtures("without_poll")
def test_a_closed_subscription_is_told_nothing_more(cache: Cache, watcher: Watcher) -> None:
    closed, open_ = SseClient(watcher), SseClient(watcher)
    closed.sees(None)
    open_.sees(None)
    closed.close()
    closed.close()
    cache.put([Change("ada", {"n": 1})])
    open_.sees({"n": 1})
    assert closed == [None]


@pytest.mark.usefixtures("without_poll")
def test_the_thread_ends_with_the_last_subscription_and_starts_with_the_next(
    cache: Cache, watcher: Watcher, client: redis.Redis
) -> None:
    for n in (1, 2):
        cache.put([Change("ada", {"n": n})])
        viewers = [SseClient(watcher), SseClient(watcher, "bob")]
        viewers[0].sees({"n": n})
        thread = watcher._thread
        for viewer in viewers:
            viewer.close()
        thread.join(5)
        assert not thread.is_alive()
        until("nobody listens", lambda: client.pubsub_channels() == [])


@pytest.mark.usefixtures("without_poll")
def test_keys_nobody_watches_any_more_are_unsubscribed(
    watcher: Watcher, client: redis.Redis
) -> None:
    ada, bob = SseClient(watcher), SseClient(watcher, "bob")
    ada.sees(None)
    bob.sees(None)
    bob.close()
    until("only ada is followed", lambda: client.pubsub_channels() == ["profile:ada"])


@pytest.mark.usefixtures("without_poll")
def test_odd_keys_are_watched_like_others(
    cache: Cache, watcher: Watcher, odd_names: list[str]
) -> None:
    viewers = {name: SseClient(watcher, name) for name in odd_names}
    for viewer in viewers.values():
        viewer.sees(None)
    cache.put(Change(name, {"username": name}) for name in odd_names)
    for name, viewer in viewers.items():
        viewer.sees({"username": name})


@pytest.mark.usefixtures("without_poll")
def test_after_a_lost_connection_the_right_row_is_told(
    cache: Cache, watcher: Watcher, client: redis.Redis
) -> None:
    cache.put([Change("ada", {"n": 1})])
    viewer = SseClient(watcher)
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


@pytest.mark.usefixtures("without_poll")
def test_a_server_that_restarts_is_found_again(own_redis: Any) -> None:
    cache, watcher = Cache(own_redis.url), Watcher(own_redis.url)
    cache.put([Change("ada", {"n": 1})])
    viewer = SseClient(watcher)
    viewer.sees({"n": 1})
    own_redis.stop()
    own_redis.start()
    viewer.sees(None)
    cache.put([Change("ada", {"n": 2})])
    viewer.sees({"n": 2})
    viewer.close()


@pytest.mark.usefixtures("without_poll")
def test_a_callback_that_raises_hurts_nobody_else(
    cache: Cache, watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(row: Any) -> None:
        raise RuntimeError(f"cannot show {row}")

    watcher.subscribe("profile:ada", broken)
    viewer = SseClient(watcher)
    viewer.sees(None)
    cache.put([Change("ada", {"n": 1})])
    viewer.sees({"n": 1})
    assert "cannot show {'n': 1}" in caplog.text


@pytest.mark.usefixtures("without_poll")
def test_what_others_wrote_and_said_starves_no_label(
    cache: Cache, watcher: Watcher, client: redis.Redis
) -> None:
    client.set("profile:text", "hello")
    client.hset("profile:text row", "row", "hello")
    client.hset("profile:bytes", "row", b"\xff\xfe")
    client.hset("profile:deep", "row", "[" * 100_000)
    client.hset("profile:wrong field", "rows", "{}")
    odd = ["text", "text row", "bytes", "deep", "wrong field"]
    viewers = {key: SseClient(watcher, key) for key in [*odd, "ada"]}
    viewers["ada"].sees(None)
    for message in (b"hello", b"\xff", b"7", b"{}", b"[]", b"[" * 100_000):
        for key in viewers:
            client.publish(f"profile:{key}", message)
    cache.put([Change(key, {"n": 1}) for key in viewers])
    for viewer in viewers.values():
        viewer.sees({"n": 1})


@pytest.mark.usefixtures("without_poll")
def test_a_message_that_is_none_makes_the_watcher_look_for_itself(
    watcher: Watcher, client: redis.Redis
) -> None:
    viewer = SseClient(watcher)
    viewer.sees(None)
    client.hset("profile:ada", "row", '{"n": 1}')
    client.publish("profile:ada", "look!")
    viewer.sees({"n": 1})


@pytest.mark.usefixtures("without_poll")
def test_a_flood_on_one_key_starves_no_other(
    cache: Cache, watcher: Watcher, client: redis.Redis
) -> None:
    flooded: list[Any] = []
    over = threading.Event()

    def told(row: Any) -> None:
        """Publish the next message before this one is done with: there always is one more."""
        ahead = 1 if flooded else 100
        flooded.append(row)
        for n in range(0 if over.is_set() else ahead):
            client.publish("profile:flooded", json.dumps({"row": {"n": [len(flooded), n]}}))

    watcher.subscribe("profile:flooded", told)
    until("the flood is on", lambda: len(flooded) > 200)
    viewer = SseClient(watcher)  # comes while the flood is on
    viewer.sees(None)
    cache.put([Change("ada", {"n": 1})])
    viewer.sees({"n": 1})
    seen = len(flooded)
    until("the flood is still on", lambda: len(flooded) > seen)
    over.set()


def test_a_change_that_was_never_published_is_found_by_the_poll(valkey_url: str) -> None:
    watcher = Watcher(valkey_url)
    viewer = SseClient(watcher)
    viewer.sees(None)
    with redis.Redis.from_url(valkey_url) as client:
        client.hset("profile:ada", "row", json.dumps({"n": 1}))
    viewer.sees({"n": 1}, timeout=module.POLL + 2)
    viewer.close()


def test_twenty_idle_labels_send_nothing_but_the_poll(own_redis: Any) -> None:
    cache = Cache(own_redis.url)
    cache.put([Change(f"user {n}", {"likes_count": n}) for n in range(10)])
    labels = [
        LiveLabel(cache, f"user {n}", column)
        for n in range(10)
        for column in ("likes_count", "username")
    ]
    until(
        "every label shows its number",
        lambda: [label.value for label in labels[::2]] == [str(n) for n in range(10)],
    )
    with redis.Redis.from_url(own_redis.url) as client:
        before = client.info("commandstats")
        time.sleep(11)  # the promise is about time in which nothing happens
        after = client.info("commandstats")
    calls = {
        name: stats["calls"] - before.get(name, {"calls": 0})["calls"]
        for name, stats in after.items()
    }
    sent = {name: count for name, count in calls.items() if count}
    ipywidgets.Widget.close_all()
    assert sent.pop("cmdstat_info") == 1
    polls = sent.pop("cmdstat_evalsha")
    assert 1 <= polls <= 3
    assert sent == {"cmdstat_hget": 10 * polls}, "the script reads each key once"
