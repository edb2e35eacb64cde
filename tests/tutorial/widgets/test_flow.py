"""The flow view on real servers: what moves is what the listener carried."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets
import psycopg
import pytest
import redis

from reactive_demo import Cache, ChangeTableFeed, FlowView, Listener, LiveLabel, Profiles, install
from reactive_demo.screen.painter import painter
from reactive_demo.tutorial.widgets.motion import MAX_LINES
from tools.waiting import until

Listen = Callable[..., Listener]


@pytest.fixture(autouse=True)
def closed_widgets() -> Iterator[None]:
    yield
    ipywidgets.Widget.close_all()


@pytest.fixture
def flow(database: str, cache: Cache, listen: Listen, profiles: Profiles) -> Iterator[FlowView]:
    """A view of the article's pipeline, and what it sends."""
    view = FlowView(listen(database, cache), profiles=profiles)
    view.sent = []
    view.observe(lambda change: view.sent.append(change["new"]), "frame")
    yield view
    view.close()


def dots(flow: FlowView) -> list[dict[str, Any]]:
    return [dot for frame in flow.sent for dot in frame["dots"]]


def lines(flow: FlowView) -> list[dict[str, str]]:
    return [line for frame in flow.sent for line in frame["lines"]]


def test_a_click_is_one_dot_with_four_measured_hops(
    flow: FlowView, profiles: Profiles, cache: Cache
) -> None:
    label = LiveLabel(cache, "ada", "likes_count")
    until("the label follows", lambda: label.value == "–")  # noqa: RUF001
    profiles.increment("ada", "likes")
    until("the dot is sent", lambda: dots(flow))
    (dot,) = dots(flow)
    assert dot["shown"]
    assert all(hop is not None and 0 <= hop < 5_000 for hop in dot["hops"])
    assert flow.frame["counts"] == {
        "written": 1,
        "heard": 1,
        "applied": 1,
        "dots": 1,
        "grouped": 0,
        "conflated": 0,
        "quarantined": 0,
    }
    assert {line["from"] for line in lines(flow)} == {"PostgreSQL", "listener", "kernel"}
    assert any('"operation" : "INSERT"' in line["text"] for line in lines(flow))


def test_dots_and_what_they_stand_for_are_what_the_listener_applied(
    flow: FlowView, connection: psycopg.Connection
) -> None:
    listener = flow.listener
    for _ in range(5):
        connection.execute(
            "SELECT reactive.increment('user ' || n % 40, 'likes') FROM generate_series(1, 400) n"
        )
    until("all is shown", lambda: sum(dot["heard"] for dot in dots(flow)) == 2_000)
    until("it is counted", lambda: flow.dots + flow.grouped == listener.stats.applied > 0)
    assert listener.stats.received == 2_000
    assert sum(dot["applied"] for dot in dots(flow)) == listener.stats.applied
    assert flow.conflated == listener.stats.received - listener.stats.applied > 0
    assert max(len(frame["lines"]) for frame in flow.sent) <= MAX_LINES


def test_with_the_listener_stopped_no_dot_moves(flow: FlowView, profiles: Profiles) -> None:
    flow.listener.stop()
    profiles.increment("ada", "likes")
    until("the write is counted", lambda: flow.frame["counts"]["written"] == 1)
    assert flow.frame["state"] == "stopped"
    assert flow.frame["waits"] == "Nobody carries changes now."
    assert dots(flow) == []


def test_the_command_on_the_wire_is_what_redis_gets(
    database: str, profiles: Profiles, cache: Cache, listen: Listen, client: redis.Redis
) -> None:
    """Redis itself tells: MONITOR shows each command that it carries out."""
    article = FlowView(listen(database, cache))
    with client.monitor() as monitor:
        article.sent = []
        article.observe(lambda change: article.sent.append(change["new"]), "frame")
        profiles.increment("ada", "likes")
        until("it is sent", lambda: lines(article))
        words = next(line["text"] for line in lines(article) if line["from"] == "listener").split()
        commands: list[str] = []
        while "EXEC" not in commands[-1:]:
            commands.append(monitor.next_command()["command"].split()[0])
        assert [word for word in words if word in {"MULTI", "DEL", "HSET", "PUBLISH", "EXEC"}] == [
            command
            for command in commands
            if command in {"MULTI", "DEL", "HSET", "PUBLISH", "EXEC"}
        ]
    article.listener.stop()

    install(database)
    with Listener(ChangeTableFeed(database), cache) as durable, client.monitor() as monitor:
        durable.wait_until("live")
        view = FlowView(durable)
        view.sent = []
        view.observe(lambda change: view.sent.append(change["new"]), "frame")
        version = profiles.increment("ada", "likes")
        until("it is sent", lambda: lines(view))
        (text,) = [line["text"] for line in lines(view) if line["from"] == "listener"]
        assert text.startswith(f"EVALSHA apply.lua profile:ada version {version} row {{")
        command = ""
        while "profile:ada" not in command or not command.startswith("EVALSHA"):
            command = monitor.next_command()["command"]
        assert str(version) in command


def test_a_closed_view_looks_on_no_longer(flow: FlowView, profiles: Profiles) -> None:
    signals = (flow.listener.heard, flow.listener.applied, painter.painted, profiles.wrote)
    assert all(signals)
    flow.close()
    assert not any(signals)


def test_writes_and_labels_of_another_table_are_not_its_own(
    flow: FlowView, cache_url: str, cache: Cache
) -> None:
    other = LiveLabel(Cache(cache_url, "twin"), "ada", "likes_count")
    ours = LiveLabel(cache, "ada", "likes_count")
    assert flow._follows(ours)
    assert not flow._follows(other)


def test_it_has_a_picture_for_those_without_a_kernel(flow: FlowView) -> None:
    data, _ = flow._repr_mimebundle_()
    assert data["text/plain"].startswith("FlowView(NotifyFeed(profile))\n\nthe app ──write──▶")
    assert data["image/svg+xml"].startswith("<svg")
    assert "<title" in data["image/svg+xml"]


def test_threads_that_carry_and_paint_at_once_lose_no_dot(
    flow: FlowView, cache: Cache, profiles: Profiles
) -> None:
    labels = [LiveLabel(cache, f"user {n}", "likes_count") for n in range(4)]

    def write(n: int) -> None:
        for _ in range(50):
            profiles.increment(f"user {n}", "likes")

    writers = [threading.Thread(target=write, args=[n]) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    until("the labels show all", lambda: [label.value for label in labels] == ["50"] * 4)
    until("all is shown", lambda: flow.dots + flow.grouped == flow.listener.stats.applied)
    assert flow.frame["counts"]["written"] == 200
