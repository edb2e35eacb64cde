"""A listener feeds a broker as it feeds a cache: nothing is missed, each row's changes in order."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reactive_demo import ChangeTableFeed, Listener, NotifyFeed, Options, Profiles, install
from reactive_demo.changes import Batch, State, Versioned
from reactive_demo.errors import ConfigurationError
from reactive_demo.sinks.broker import BrokerSink
from reactive_demo.tutorial.brokers import Reader
from sinks.service import Seen, agrees
from tools.brokers import kill, messages
from tools.waiting import until

pytestmark = pytest.mark.long

MakeSink = Callable[..., BrokerSink]
Subscribe = Callable[[], Reader]

PROCESS = """
import sys
from reactive_demo import ChangeTableFeed, KafkaSink, Listener, RabbitSink
from reactive_demo.waiting import wait_until
_, database_url, kind, url, topic = sys.argv
sink = (RabbitSink if kind == "rabbitmq" else KafkaSink)(url, topic=topic)
listener = Listener(ChangeTableFeed(database_url), sink).start()
listener.wait_until("live", 20)
print("live", flush=True)
sys.stdin.read()
"""


def test_every_change_comes_once_and_in_order(
    profiles: Profiles, database: str, make_sink: MakeSink, subscribe: Subscribe, start: Any
) -> None:
    profiles.increment("old", "likes")
    reader = subscribe()
    listener = start(database, make_sink())
    for number in range(60):
        profiles.increment(f"user {number % 3}", "likes")
    profiles.delete("user 0")
    until("all is sent", lambda: listener.stats.applied >= 10 and listener.state == "live")
    seen = Seen()
    until("the reader knows all", lambda: agrees(database, seen.take(messages(reader, 0.2))))
    assert seen.rows["user 0"] is None
    assert seen.twice == 0
    assert all(found == sorted(found) for found in seen.versions.values())


def test_it_continues_where_the_broker_says_that_it_was(
    profiles: Profiles, database: str, make_sink: MakeSink, subscribe: Subscribe, start: Any
) -> None:
    reader, seen = subscribe(), Seen()
    start(database, make_sink()).stop()
    for number in range(50):
        profiles.increment(f"user {number}", "likes")
    start(database, make_sink())
    until("the reader knows all", lambda: agrees(database, seen.take(messages(reader, 0.2))))
    assert seen.twice == 0
    assert len(seen.rows) == 50


def test_a_listener_that_is_killed_half_way_loses_nothing(  # noqa: PLR0917
    profiles: Profiles,
    database: str,
    kind: str,
    url: str,
    topic: str,
    subscribe: Subscribe,
) -> None:
    reader, seen = subscribe(), Seen()
    words = [sys.executable, "-c", PROCESS, database, kind, url, topic]
    written = iter(range(100_000))
    for _ in range(3):
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout.readline() == "live\n"
        for _ in range(200):
            profiles.increment(f"user {next(written) % 40}", "likes")
        os.kill(process.pid, signal.SIGKILL)  # in the middle of what it carries
        process.communicate()
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "live\n"
        until("the reader knows all", lambda: agrees(database, seen.take(messages(reader, 0.2))))
    finally:
        process.kill()
        process.communicate()
    assert sum(row["likes_count"] for row in seen.rows.values()) == 600


def test_a_broker_that_is_killed_half_way_gets_it_all(  # noqa: PLR0917
    profiles: Profiles,
    database: str,
    kind: str,
    make_sink: MakeSink,
    subscribe: Subscribe,
    start: Any,
) -> None:
    """RabbitMQ still has what it confirmed. Ours of Kafka's protocol is empty, and filled again."""
    home = Path(os.environ["REACTIVE_DEMO_HOME"])
    subscribe()
    listener = start(database, make_sink())
    writing = threading.Event()

    def write() -> None:
        number = 0
        while not writing.is_set():
            profiles.increment(f"user {number % 20}", "likes")
            number += 1
            writing.wait(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until("some have been sent", lambda: listener.stats.applied > 50)
        kill(home, kind)
    finally:
        writing.set()
        writer.join()
    listener.wait_until("live", 30)
    reader, seen = subscribe(), Seen()
    until(
        "the reader knows all",
        lambda: agrees(database, seen.take(messages(reader, 0.2))),
        timeout=20,
    )
    assert listener.stats.reconnects >= 1


def test_of_two_that_take_over_the_newest_leads(
    profiles: Profiles, database: str, make_sink: MakeSink, subscribe: Subscribe, start: Any
) -> None:
    reader = subscribe()
    old = start(database, make_sink(), takeover=True)
    new = start(database, make_sink(), takeover=True)
    until("the old one stops", lambda: old.state == "stopped", timeout=10)
    profiles.increment("ada", "likes")
    seen = Seen()
    until("it is sent", lambda: "ada" in seen.take(messages(reader, 0.2)).rows)
    assert new.state == "live"


def test_a_listener_that_stands_by_takes_over(
    profiles: Profiles, database: str, make_sink: MakeSink, subscribe: Subscribe, start: Any
) -> None:
    reader = subscribe()
    first = start(database, make_sink())
    second = Listener(ChangeTableFeed(database), make_sink()).start()
    second.wait_until("standby")
    first.stop()
    second.wait_until("live", 20)
    profiles.increment("ada", "likes")
    seen = Seen()
    until("it is sent", lambda: "ada" in seen.take(messages(reader, 0.2)).rows)
    second.stop()


def test_a_leader_that_was_frozen_writes_nothing_more(  # noqa: PLR0917
    profiles: Profiles,
    database: str,
    kind: str,
    url: str,
    topic: str,
    make_sink: MakeSink,
    subscribe: Subscribe,
) -> None:
    """RabbitMQ keeps the lead for a connection until it has missed its heartbeats."""
    reader, seen = subscribe(), Seen()
    words = [sys.executable, "-c", PROCESS, database, kind, url, topic]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    second = Listener(ChangeTableFeed(database), make_sink())
    try:
        assert process.stdout.readline() == "live\n"
        profiles.increment("ada", "likes")
        os.kill(process.pid, signal.SIGSTOP)
        profiles.increment("ada", "likes")
        second.start().wait_until("live", 45)
        profiles.increment("ada", "likes")
        os.kill(process.pid, signal.SIGCONT)
        for _ in range(20):
            profiles.increment("ada", "likes")
        until("the reader knows all", lambda: agrees(database, seen.take(messages(reader, 0.5))))
    finally:
        process.kill()
        process.communicate()
        second.stop()
    assert seen.versions["ada"] == sorted(seen.versions["ada"])
    assert second.stats.reconnects == 0 or kind == "rabbitmq"  # while it waited for the lead


def test_another_database_is_refused_and_disturbs_nobody(
    kind: str, database: str, database_url: str, make_sink: MakeSink, start: Any
) -> None:
    install(database_url)
    leader = start(database, make_sink())
    another = Listener(ChangeTableFeed(database_url), make_sink()).start()
    words = "is still open" if kind == "rabbitmq" else "Another database wrote this topic"
    until("it says why it waits", lambda: words in another.status_text)
    another.stop()
    assert (leader.state, leader.stats.reconnects) == ("live", 0)


def test_a_feed_without_a_position_is_refused_in_a_sentence(
    database: str, make_sink: MakeSink
) -> None:
    listener = Listener(NotifyFeed(database), make_sink()).start()
    until("it stops", lambda: listener.state == "stopped")
    with pytest.raises(ConfigurationError, match="use a ChangeTableFeed or a LogFeed"):
        listener.check()


@pytest.mark.parametrize("kind", ["kafka"])
def test_a_row_that_the_broker_refuses_holds_up_no_other(
    connection: psycopg.Connection,
    database: str,
    make_sink: MakeSink,
    subscribe: Subscribe,
    start: Any,
) -> None:
    """Kafka takes no message of more than 1 MB, unless it is told to."""
    connection.execute("ALTER TABLE profile ADD about text")
    reader = subscribe()
    listener = start(database, make_sink())
    connection.execute(
        "INSERT INTO profile (username, about) VALUES ('large', repeat('x', 1200000)), ('ada', '')"
    )
    seen = Seen()
    until("ada is sent", lambda: "ada" in seen.take(messages(reader, 0.2)).rows)
    until("the other is in quarantine", lambda: "large" in listener.quarantine)
    connection.execute("UPDATE profile SET about = 'short' WHERE username = 'large'")
    until("it is sent once it fits", lambda: "large" in seen.take(messages(reader, 0.2)).rows)
    until("and is released", lambda: not listener.quarantine)


def test_a_table_that_is_truncated_is_announced(  # noqa: PLR0917
    connection: psycopg.Connection,
    profiles: Profiles,
    database: str,
    make_sink: MakeSink,
    subscribe: Subscribe,
    start: Any,
) -> None:
    reader = subscribe()
    sink = make_sink()
    start(database, sink)
    version = profiles.increment("ada", "likes")
    connection.execute("TRUNCATE profile")
    bodies: list[str] = []

    def announced() -> bool:
        if body := reader.read(0.2):
            bodies.append(body)
        return any('"key":null' in body and f'"version":"{version}"' < body for body in bodies[1:])

    until("a message about no row says what is gone", announced)


def test_a_batch_without_a_cursor_does_not_move_it_back(make_sink: MakeSink) -> None:
    sink = make_sink()
    lease = sink.acquire_lease("1/1/00000001/x", new_epoch=True)
    for number, cursor in enumerate(("one", None)):
        change = Versioned("ada", None, str(number + 1))
        sink.write(Batch(State.LIVE, [change], cursor=cursor), replace(lease, sequence=number))
    sink.release()
    assert sink.acquire_lease("1/1/00000001/x").cursor == "one"


def test_options_are_those_of_the_feed(database: str, make_sink: MakeSink) -> None:
    """The position is kept up to date while nothing happens: an empty broker is noticed."""
    feed = ChangeTableFeed(database, options=Options(heartbeat=0.2))
    with Listener(feed, make_sink()) as listener:
        listener.wait_until("live", 20)
        sequence = listener.cache._sequence  # type: ignore[attr-defined]
        until("it has written again", lambda: listener.cache._sequence > sequence)  # type: ignore[attr-defined]
