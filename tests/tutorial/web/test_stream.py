"""The stream: state now, state after each change, and a price that does not grow with viewers."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import quote

import pytest
import redis

from reactive_demo import Cache, ChangeTableFeed, Listener, ProfileApp
from reactive_demo.changes import Change
from reactive_demo.tutorial.web import WebOptions
from tools.redis_server import RedisServer
from tools.waiting import until
from tools.web import Stream, ask, update
from tutorial.web.conftest import Web


@pytest.fixture
def client(web: Web) -> Iterator[redis.Redis]:
    """Any Redis client."""
    with redis.Redis.from_url(web.redis_url, decode_responses=True) as plain:
        yield plain


def test_the_first_event_is_the_row_as_it_is_now(web: Web) -> None:
    version = update(web.port, "first")
    web.cache.wait_for("first", int(version))
    with Stream(web.port, "first") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.event() == (version, web.profiles.get("first"))


def test_a_profile_that_does_not_exist_is_null_until_it_does(web: Web) -> None:
    with Stream(web.port, "unborn") as stream:
        assert stream.event() == (None, None)
        version = update(web.port, "unborn")
        assert stream.until(version) == (version, web.profiles.get("unborn"))
        web.profiles.delete("unborn")
        event = stream.event()
        assert event.data is None
        assert int(event.ident) > int(version)


def test_each_change_is_an_event_with_the_updates_version(web: Web) -> None:
    with Stream(web.port, "each") as stream:
        stream.event()
        for likes in range(1, 6):
            version = update(web.port, "each")
            assert stream.event() == (version, web.profiles.get("each"))
            assert web.profiles.get("each")["likes_count"] == likes


@pytest.mark.parametrize("seen", ["before", "now", "later", "0", "nonsense", "9" * 40])
def test_a_client_that_reconnects_gets_the_row_whatever_it_last_saw(web: Web, seen: str) -> None:
    """Also an id from an earlier life of the database, greater than any of now."""
    name = f"back-{seen}"
    before, now = update(web.port, name), update(web.port, name)
    web.cache.wait_for(name, int(now))
    ident = {"before": before, "now": now, "later": str(int(now) + 100)}.get(seen, seen)
    with Stream(web.port, name, f"Last-Event-ID: {ident}") as stream:
        assert stream.event() == (now, web.profiles.get(name))
        later = update(web.port, name)
        assert stream.event().ident == later


@pytest.mark.parametrize(
    "name", ["a\r\nid: 7\r\ndata: x", "<b>&amp;'\"", "profile:*?[a-z]", "🐘 é"]
)
def test_a_name_is_data_and_nothing_else(web: Web, name: str) -> None:
    with Stream(web.port, name) as stream:
        stream.event()
        version = update(web.port, name)
        event = stream.event()
        assert event.ident == version
        assert event.data["username"] == name


def test_the_articles_feed_has_no_versions_and_streams_as_well(web: Web) -> None:
    with Stream(web.port, "article") as stream:
        stream.event()
        row = {"username": "article", "likes_count": 1}
        web.cache.put([Change("article", row)])
        assert stream.event() == (None, row)


@pytest.mark.parametrize(
    "message", ["", "no JSON", "[]", '{"row": 1, "version": "1"}', '{"version": "1"}', "[" * 9999]
)
def test_what_anyone_publishes_does_no_harm(web: Web, client: redis.Redis, message: str) -> None:
    name = f"published{len(message)}"
    with Stream(web.port, name) as stream:
        stream.event()
        client.publish(f"profile:{name}", message)
        version = update(web.port, name)
        assert stream.event().ident == version


def test_a_forged_message_is_shown_to_nobody(web: Web, client: redis.Redis) -> None:
    """A message from another database number of the same Redis looks just like this."""
    with Stream(web.port, "forged") as stream:
        stream.event()
        client.publish("profile:forged", json.dumps({"row": {"likes_count": 666}, "version": "9"}))
        version = update(web.port, "forged")
        assert stream.event() == (version, web.profiles.get("forged"))


def test_an_id_that_would_break_the_stream_is_left_out(web: Web, client: redis.Redis) -> None:
    client.hset("profile:broken", mapping={"row": "{}", "version": "1:1\ndata: 2"})
    with Stream(web.port, "broken") as stream:
        assert stream.event() == (None, {})
    client.delete("profile:broken")


def test_a_change_that_no_message_told_is_found_by_the_poll(web: Web, client: redis.Redis) -> None:
    options = WebOptions(poll_interval=0.1)
    with (
        ProfileApp(web.database_url, web.redis_url, options=options) as app,
        Stream(app.port, "untold") as stream,
    ):
        assert stream.event() == (None, None)
        client.hset("profile:untold", mapping={"row": '{"n": 1}', "version": "1:3"})
        assert stream.event() == ("3", {"n": 1})
        client.delete("profile:untold")
        assert stream.event() == (None, None)


def test_an_account_without_channels_follows_by_the_poll_and_health_says_so(
    own_redis: RedisServer, web: Web
) -> None:
    options = WebOptions(poll_interval=0.1)
    with redis.Redis.from_url(own_redis.url) as admin:
        admin.execute_command("ACL SETUSER viewer on nopass +@all ~* resetchannels")
        viewer = own_redis.url.replace("unix://", "unix://viewer@")
        cache = Cache(own_redis.url)
        cache.put([Change("quiet", {"n": 1})])
        with (
            ProfileApp(web.database_url, viewer, options=options) as app,
            Stream(app.port, "quiet") as stream,
        ):
            assert stream.event().data == {"n": 1}
            cache.put([Change("quiet", {"n": 2})])
            assert stream.event().data == {"n": 2}

            def warned() -> bool:
                health = ask(app.port, "GET", "/healthz").json
                assert health["status"] == "stale"  # no listener runs
                return "&profile:*" in health.get("warning", "")

            until("health says so", warned)
            admin.execute_command("ACL SETUSER viewer &profile:*")
            until("it subscribes once it may", lambda: not warned())
            assert admin.pubsub_numsub("profile:quiet") == [(b"profile:quiet", 1)]
            cache.put([Change("quiet", {"n": 3})])
            assert stream.event().data == {"n": 3}
        cache.close()


def test_numbers_keep_all_their_digits(web: Web, client: redis.Redis) -> None:
    text = '{"a": 1e400, "b": 12345678901234567.8912345678, "c": 9007199254740993}'
    client.hset("profile:digits", mapping={"row": text, "version": "1:7"})
    answer = ask(web.port, "GET", "/v1/profile/digits")
    assert answer.body.decode() == f'{text[:-1]}, "version": "7"}}\n'
    with Stream(web.port, "digits") as stream:
        assert stream._line() == "retry: 1000"
        assert stream._line() == ""
        assert stream._line() == "id: 7"
        assert stream._line() == f"data: {text}"
    client.delete("profile:digits")


def test_several_profiles_share_one_stream(web: Web) -> None:
    names = ["many: 1", "many'2", "many\n3"]
    first = update(web.port, names[0])
    web.cache.wait_for(names[0], int(first))
    with Stream(web.port, names) as stream:
        shown = {event.name: (event.ident, event.data) for event in (stream.event() for _ in names)}
        channels = [quote(f"profile:{name}", safe="'") for name in names]
        assert shown == {
            channels[0]: (first, web.profiles.get(names[0])),
            channels[1]: ("", None),
            channels[2]: ("", None),
        }
        for name, channel in zip(names, channels, strict=True):
            version = update(web.port, name)
            event = stream.event()
            assert (event.name, event.ident) == (channel, version)
            assert event.data == web.profiles.get(name)


def test_a_profile_that_is_asked_for_twice_is_sent_once(web: Web) -> None:
    with Stream(web.port, ["twice", "twice"]) as stream:
        assert stream.event() == (None, None)
        version = update(web.port, "twice")
        assert stream.event().ident == version


@pytest.mark.parametrize("value", [{"row": "[" * 9999}, {"row": "7"}, {"row": "\xff"}, "no hash"])
def test_what_somebody_put_into_the_cache_is_no_row(
    web: Web, client: redis.Redis, value: object
) -> None:
    name = f"odd{len(str(value))}"
    if isinstance(value, dict):
        client.hset(f"profile:{name}", mapping=value)
    else:
        client.set(f"profile:{name}", str(value))
    with Stream(web.port, name) as stream:
        assert stream.event().data is None
    assert ask(web.port, "GET", f"/v1/profile/{name}").status == 404
    client.delete(f"profile:{name}")


def commands(client: redis.Redis) -> dict[str, int]:
    """How often each command was called, but for those that asked."""
    return {
        name.removeprefix("cmdstat_"): facts["calls"]
        for name, facts in client.info("commandstats").items()
        if name not in {"cmdstat_info", "cmdstat_client|setinfo", "cmdstat_hello"}
    }


def test_viewers_cost_no_redis_command_while_nothing_changes(
    own_redis: RedisServer, web: Web
) -> None:
    """Counted from one sign of life of the subscription to a later one: no listener runs, and the
    poll is not due.
    """
    options = WebOptions(ping_interval=0.3, poll_interval=3600)
    with (
        redis.Redis.from_url(own_redis.url) as client,
        ProfileApp(web.database_url, own_redis.url, options=options) as app,
        ExitStack() as streams,
    ):
        for number in range(60):
            stream = streams.enter_context(Stream(app.port, f"idle{number % 3}"))
            assert stream.event() == (None, None)
        opened = commands(client)
        assert opened["hmget"] <= 6
        assert opened["subscribe"] <= 6
        until("it has been idle a while", lambda: commands(client)["ping"] > opened["ping"] + 3)
        idle = commands(client)
        spent = {name: count - opened.get(name, 0) for name, count in idle.items()}
        assert {name for name, count in spent.items() if count} == {"ping"}
        assert spent["ping"] <= 6


def test_a_name_is_left_with_its_last_viewer_and_read_again_with_the_next(
    own_redis: RedisServer, web: Web
) -> None:
    cache = Cache(own_redis.url)
    with (
        redis.Redis.from_url(own_redis.url) as client,
        ProfileApp(web.database_url, own_redis.url) as app,
    ):
        for likes in range(20):  # so fast that the subscription may still be there
            cache.put([Change("left", {"likes_count": likes})])
            with Stream(app.port, "left") as stream:
                assert stream.event() == (None, {"likes_count": likes})
        until(
            "nobody listens any more",
            lambda: client.pubsub_numsub("profile:left") == [(b"profile:left", 0)],
        )
    cache.close()


def test_a_slow_client_gets_the_last_value_and_delays_nobody(web: Web) -> None:
    """It reads nothing while hundreds of large events go by; little of that waits for it."""
    bulk = "x" * 20_000
    with Stream(web.port, "slow", room=4096) as slow, Stream(web.port, "slow") as fast:
        assert slow.event() == fast.event() == (None, None)
        for number in range(500):
            web.cache.put([Change("slow", {"n": number, "bulk": bulk})])
            while fast.event().data["n"] < number:
                pass
        seen = []
        while not seen or seen[-1] < 499:
            seen.append(slow.event().data["n"])
        assert seen == sorted(seen)
        assert len(seen) < 50, "no backlog was kept for it"


def test_a_client_that_takes_nothing_for_long_is_dropped(web: Web, client: redis.Redis) -> None:
    options = WebOptions(client_timeout=0.2, tick=0.05)
    with (
        ProfileApp(web.database_url, web.redis_url, options=options) as app,
        Stream(app.port, "stuck", room=4096) as stuck,
    ):
        with Stream(app.port, "stuck") as other:
            for number in range(50):
                web.cache.put([Change("stuck", {"n": number, "bulk": "x" * 50_000})])
                while (other.event().data or {"n": -1})["n"] < number:
                    pass
        until(
            "nobody is told any more",
            lambda: client.pubsub_numsub("profile:stuck") == [("profile:stuck", 0)],
        )
        with pytest.raises((ValueError, AssertionError)):  # the end of a chunk is missing
            stuck.until("1")


def test_a_silent_stream_gets_heartbeats(web: Web) -> None:
    options = WebOptions(heartbeat_after=0.1, tick=0.05)
    with (
        ProfileApp(web.database_url, web.redis_url, options=options) as app,
        Stream(app.port, "beat") as stream,
    ):
        stream.event()
        until("three heartbeats have come", lambda: stream.heard_comment() >= 3)
        version = update(app.port, "beat")
        assert stream.event().ident == version


def test_streams_end_cleanly_with_the_server_and_it_starts_again(web: Web) -> None:
    app = ProfileApp(web.database_url, web.redis_url).start()
    port = app.port
    with ExitStack() as streams:
        opened = [streams.enter_context(Stream(port, "end")) for _ in range(5)]
        assert [stream.event() for stream in opened] == [(None, None)] * 5
        app.stop()
        assert [stream.event() for stream in opened] == [None] * 5
    app.start()
    assert app.port == port
    assert ask(port, "GET", "/").status == 200
    app.stop()
    app.stop()


def test_streams_go_on_when_redis_is_back(own_redis: RedisServer, web: Web) -> None:
    with ProfileApp(web.database_url, own_redis.url) as app:
        cache = Cache(own_redis.url)
        cache.put([Change("redis", {"n": 1})])
        with Stream(app.port, "redis") as stream:
            assert stream.event().data == {"n": 1}
            own_redis.stop()
            for target in ("/healthz", "/v1/profile/redis"):
                answer = ask(app.port, "GET", target)
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert answer.json == {"error": "Redis does not answer: try again in a moment."}
            with Stream(app.port, "redis-new") as new:  # opened while it is away
                own_redis.start()
                cache.put([Change("redis", {"n": 2})])
                assert new.event() == (None, None)
            while stream.event().data != {"n": 2}:
                pass
        cache.close()


def test_health_follows_the_listener(own_redis: RedisServer, web: Web) -> None:
    """Any listener's sign of life counts; without one for 6 s, all is not well."""
    with (
        ProfileApp(web.database_url, own_redis.url) as app,
        redis.Redis.from_url(own_redis.url) as client,
    ):
        answer = ask(app.port, "GET", "/healthz")
        assert (answer.status, answer.json["heartbeat_age"]) == (503, None)
        cache = Cache(own_redis.url)
        with Listener(ChangeTableFeed(web.database_url), cache):
            until("it is well", lambda: ask(app.port, "GET", "/healthz").status == 200)
        client.hincrby("reactive_demo:feed:profile", "alive", -7)  # as if 7 s had gone by
        answer = ask(app.port, "GET", "/healthz")
        assert answer.status == 503
        assert answer.json["heartbeat_age"] >= 7
        assert "No listener" in answer.json["error"]
        cache.close()
