"""What a flow view shows of what has passed, with times of our own."""

import json

from psycopg import Notify

from reactive_demo.changes import Batch, Change, State, Versioned
from reactive_demo.listener.listener import Applied
from reactive_demo.listener.stats import Hop, Stats
from reactive_demo.tutorial.widgets.motion import HOLD, MAX_DOTS, MAX_LINES, Motion
from reactive_demo.tutorial.widgets.wire import MAX_WIDTH

ROW = {"username": "ada", "likes_count": 1}


def applied(
    at: float, key: str = "ada", *, newer: int = 1, received: int = 0, changed_at: float | None = 9
) -> Applied:
    changes = [Change(key, ROW)] * newer
    batch = Batch(State.LIVE, changes, received=received, changed_at=changed_at)
    return Applied(batch, newer, at, at + 0.001)


def test_a_change_is_a_dot_with_the_time_of_each_hop() -> None:
    motion = Motion("profile")
    motion.wrote("ada", 9.0, 9.002)
    motion.applied(applied(10.0, changed_at=9.996))
    motion.shown("ada", 10.004, "LiveLabel(ada.likes_count)", "1")
    frame = motion.frame(10.01, Stats(received=1, applied=1))
    assert frame["dots"] == [
        {"after": 0, "applied": 1, "heard": 1, "shown": True, "hops": [2, 4, 1, 3]}
    ]
    assert frame["hops"][0] == [2, 2]
    assert frame["hops"][3] == [3, 3]
    assert not motion.waits


def test_a_dot_waits_for_its_label_and_not_for_ever() -> None:
    motion = Motion("profile")
    motion.applied(applied(10.0, changed_at=None))
    assert motion.frame(10.0, Stats())["dots"] == []
    assert motion.waits
    (dot,) = motion.frame(10.002 + HOLD, Stats())["dots"]
    assert not dot["shown"]
    assert dot["hops"] == [None, None, 1, None]


def test_a_label_that_is_painted_before_redis_has_answered_is_seen_too() -> None:
    motion = Motion("profile")
    motion.shown("ada", 10.0005, "LiveLabel(ada.likes_count)", "1")
    motion.applied(applied(10.0))
    motion.applied(applied(10.0006))
    first, second = motion.frame(10.0006 + 2 * HOLD, Stats())["dots"]
    assert first["shown"]
    assert first["hops"][3] == 0
    assert not second["shown"], "that was the one before"


def test_what_the_cache_had_already_is_no_dot() -> None:
    motion = Motion("profile")
    motion.applied(applied(10.0, newer=0))
    assert not motion.frame(11.0, Stats())["dots"]


def test_dots_and_what_they_stand_for_are_what_was_applied() -> None:
    motion, count = Motion("profile"), 0
    for n in range(100):
        newer = 1 + n % 3
        count += newer
        motion.applied(applied(10 + n / 1000, newer=newer, received=2 * newer))
        if n % 40 == 39:
            assert len(motion.frame(20 + n, Stats())["dots"]) <= MAX_DOTS
    last = motion.frame(200, Stats())["dots"]
    assert motion.dots + motion.grouped == count
    assert motion.conflated == count, "half of what was heard"
    assert last[-1]["heard"] == 2 * last[-1]["applied"] > last[0]["heard"]


def test_a_label_that_was_faster_is_on_the_wire_after_its_command() -> None:
    motion = Motion("profile")
    motion.shown("ada", 10.0005, "LiveLabel(ada.likes_count)", "1")
    motion.applied(applied(10.0))
    assert [line["from"] for line in motion.frame(99, Stats())["lines"]] == [
        "PostgreSQL",
        "listener",
        "kernel",
    ]


def test_a_minute_has_the_worst_latency_of_each_second() -> None:
    motion = Motion("profile")
    for at, changed_at in ((100.0, 99.999), (100.2, 100.1), (158.0, 158.5)):
        motion.applied(applied(at, changed_at=changed_at))
    minute = motion.frame(159.0, Stats())["minute"]
    assert len(minute) == 60
    assert {n: worst for n, worst in enumerate(minute) if worst is not None} == {0: 101, 58: 0}
    assert set(motion.frame(400.0, Stats())["minute"]) == {None}


def test_times_are_told_in_milliseconds_and_unknown_ones_as_none() -> None:
    stats = Stats(applied=1, announce=Hop(0.00123, 0.002), latency=Hop(None, 1.5))
    frame = Motion("profile").frame(1, stats)
    assert frame["hops"] == [[None, None], [1.23, 2], [None, None], [None, None]]
    assert frame["latency"] == [None, 1500]


def test_no_time_is_told_before_a_change_has_passed() -> None:
    before = Stats(applied=5, announce=Hop(0.001, 0.001), latency=Hop(0.002, 0.002))
    frame = Motion("profile", before).frame(1, before)
    assert frame["hops"] == [[None, None]] * 4
    assert frame["latency"] == [None, None]


def test_it_counts_from_its_beginning() -> None:
    motion = Motion("profile", Stats(received=7, applied=5, quarantined=1))
    counts = motion.frame(1, Stats(received=9, applied=6, quarantined=1))["counts"]
    assert (counts["heard"], counts["applied"], counts["quarantined"]) == (2, 1, 0)


# The wire


def said(motion: Motion) -> list[str]:
    return [f"{line['from']}: {line['text']}" for line in motion.frame(99, Stats())["lines"]]


def ring(payload: str = "") -> Notify:
    return Notify("a channel", payload, 1)


def test_the_wire_of_the_article_s_feed() -> None:
    motion = Motion("profile")
    motion.heard([ring(), ring("{...}")])
    motion.applied(applied(10.0))
    motion.shown("ada", 10.1, "LiveLabel(ada.followers_count)", "1")
    motion.shown("ada", 10.1, "LiveLabel(ada.likes_count)", "1")
    message = json.dumps({"method": "update", "state": {"value": "1"}})
    command = f"MULTI DEL profile:ada HSET profile:ada row {json.dumps(ROW)}"
    assert said(motion) == [
        "PostgreSQL: NOTIFY a channel {...} (and notifications before it: 1)",
        f"listener: {command} PUBLISH profile:ada {{…}} EXEC",
        f"kernel: {message} to LiveLabel(ada.likes_count) (and messages before it: 1)",
    ]


def test_the_wire_of_the_durable_feed() -> None:
    motion = Motion("profile")
    rows = [Versioned("ada", "{}", "7"), Versioned("bob", None, "8")]
    batch = Batch(State.LIVE, rows, cursor="1:1:")
    motion.applied(Applied(batch, 2, 10, 10))
    motion.heard([ring("public.profile")])
    motion.applied(Applied(batch, 2, 11, 11))
    command = "EVALSHA apply.lua profile:bob version 8 row (deleted) (and rows before it: 1)"
    assert said(motion) == [
        "PostgreSQL: NOTIFY a channel public.profile",
        f"listener: {command}",
        "PostgreSQL: no NOTIFY: the listener was awake, and read by itself",
        f"listener: {command}",
    ]


def test_a_line_of_the_wire_is_short_and_a_flood_leaves_few() -> None:
    motion = Motion("profile")
    for n in range(50):
        motion.applied(applied(10.0, key=f"{n}" * 1000))
    lines = said(motion)
    assert 0 < len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= MAX_WIDTH + len("PostgreSQL: ")
