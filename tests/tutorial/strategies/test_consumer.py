"""Write-behind's other half: messages that wait, come late, or come twice."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from reactive_demo.redis_cache.keys import stream_key
from reactive_demo.tutorial.strategies import Consumer, WriteBehind
from reactive_demo.tutorial.strategies.consumer import GROUP
from tools.redis_server import RedisServer
from tools.waiting import until
from tutorial.strategies.conftest import Wires, likes, waits_for_a_lock

Make = Callable[..., Any]

CONSUMER = """
import sys
from reactive_demo.tutorial.strategies import Consumer
Consumer(*sys.argv[1:], name="killed").run()
"""


@pytest.fixture
def strategy(database: str, valkey_url: str, make: Make) -> WriteBehind:
    return make(WriteBehind, database, valkey_url)


def test_while_no_consumer_is_there_messages_wait(
    wires: Wires, strategy: WriteBehind, database: str, valkey_url: str
) -> None:
    for _ in range(1200):
        strategy.write("ada", "likes")
    assert (likes(strategy), wires.stored()) == (1200, 0)
    with Consumer(database, valkey_url) as consumer:
        until("nothing waits", lambda: consumer.waiting() == 0)
    assert wires.stored() == 1200


def test_a_batch_is_one_transaction(
    strategy: WriteBehind, database: str, valkey_url: str, make: Make
) -> None:
    consumer = make(Consumer, database, valkey_url)
    for username in ("ada", "grace", "ada"):
        for counter in ("likes", "followers"):
            strategy.write(username, counter)
    assert consumer.work() == 6
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT *, xmin FROM profile ORDER BY username").fetchall()
    assert [row[:4] for row in rows] == [("ada", 0, 2, 2), ("grace", 0, 1, 1)]
    assert len({row[4] for row in rows}) == 1


def test_what_a_killed_consumer_had_stored_is_counted_once(
    wires: Wires, strategy: WriteBehind, database: str, valkey_url: str
) -> None:
    strategy.rows.incremented("ada", "likes")
    words = [sys.executable, "-c", CONSUMER, *wires.urls]
    process = subprocess.Popen(words)
    try:
        with redis.Redis.from_url(valkey_url) as client, psycopg.connect(database) as holder:
            until("it listens", lambda: client.exists(strategy_stream()))
            holder.execute("SELECT FROM profile FOR UPDATE")
            strategy.write("ada", "likes")
            until("it wants to store the message", lambda: waits_for_a_lock(database))
            wires.redis.blackhole()  # its acknowledgement will not arrive
            holder.rollback()
            until("it has stored it", lambda: wires.stored() == 2)
    finally:
        process.kill()
        process.wait(10)
    wires.redis.cut()
    with redis.Redis.from_url(valkey_url) as client:
        assert pending(client) == 1
        with Consumer(database, valkey_url, name="heir", patience=0.1) as heir:
            until("it is acknowledged", lambda: pending(client) == 0)
            until("nothing waits", lambda: heir.waiting() == 0)
    assert wires.stored() == likes(strategy) == 2


def test_what_a_killed_consumer_had_not_stored_is_stored(
    wires: Wires, strategy: WriteBehind, database: str, valkey_url: str, make: Make
) -> None:
    dead, heir = (make(Consumer, database, valkey_url, name=n, patience=0) for n in ("a", "b"))
    dead.take()
    strategy.write("ada", "likes")
    assert len(dead.take()) == 1
    heir.work()
    assert (wires.stored(), heir.waiting()) == (1, 0)


def test_one_that_wakes_up_late_counts_nothing_twice(
    wires: Wires, strategy: WriteBehind, database: str, valkey_url: str, make: Make
) -> None:
    late, heir = (make(Consumer, database, valkey_url, name=n, patience=0) for n in ("a", "b"))
    late.take()
    strategy.write("ada", "likes")
    messages = late.take()
    assert heir.work() == 1
    strategy.write("ada", "likes")
    assert heir.work() == 1
    assert late.store(messages) == 0
    late.acknowledge(messages)
    assert wires.stored() == 2


def test_ids_are_forgotten_after_a_week(
    strategy: WriteBehind, database: str, valkey_url: str, make: Make
) -> None:
    consumer = make(Consumer, database, valkey_url)
    consumer.take()
    with psycopg.connect(database, autocommit=True) as connection:
        for _ in range(2):
            strategy.write("ada", "likes")
            consumer.work()
            connection.execute("UPDATE reactive.stored SET stored_at = now() - interval '8 days'")
        [(count,)] = connection.execute("SELECT count(*) FROM reactive.stored").fetchall()
    assert count == 1


def test_four_consumers_share_the_work_and_count_each_message_once(
    wires: Wires,
    strategy: WriteBehind,
    database: str,
    valkey_url: str,
    make: Make,
) -> None:
    options = {"patience": 0.01, "batch": 20}
    team = [make(Consumer, database, valkey_url, name=str(n), **options) for n in range(4)]
    for number in range(1000):
        strategy.write(("ada", "grace", "alan")[number % 3], "likes")
    for consumer in team:
        consumer.__enter__()
    until("nothing waits", lambda: team[0].waiting() == 0)
    for consumer in team:
        consumer.stop()
    assert [wires.stored(name) for name in ("ada", "grace", "alan")] == [334, 333, 333]


@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_a_server_that_is_away_is_waited_for(
    wires: Wires, strategy: WriteBehind, valkey_url: str, server: str
) -> None:
    wire = getattr(wires, server)
    with redis.Redis.from_url(valkey_url) as client, Consumer(*wires.urls, patience=0.1):
        strategy.write("ada", "likes")
        until("nothing waits", lambda: client.xlen(strategy_stream()) == 0)
        wire.cut()
        strategy.write("ada", "likes")
        if server == "postgres":
            until("it wants to store the message", lambda: pending(client) == 1)
        assert wires.stored() == 1
        wire.restore()
        until("nothing waits", lambda: client.xlen(strategy_stream()) == 0)
    assert wires.stored() == 2


def test_an_emptied_redis_takes_what_was_not_stored_with_it(
    wires: Wires, strategy: WriteBehind, database: str, valkey_url: str
) -> None:
    with Consumer(database, valkey_url) as consumer, redis.Redis.from_url(valkey_url) as client:
        for stored in (1, 2):
            strategy.write("ada", "likes")
            until("it is acknowledged", lambda: consumer.waiting() == 0)
            assert wires.stored() == stored
            client.flushall()


def test_a_redis_that_restarts_loses_what_the_writer_was_told_is_written(
    wires: Wires, database: str, folder: Path, make: Make
) -> None:
    server = RedisServer(folder, "--save", "")
    server.start()
    strategy = make(WriteBehind, database, server.url)
    for _ in range(3):
        strategy.write("ada", "likes")
    server.kill()
    server.start()
    assert strategy.read("ada") is None
    with Consumer(database, server.url) as consumer:
        until("it has looked", lambda: redis.Redis.from_url(server.url).exists(consumer.stream))
        assert (wires.stored(), consumer.waiting()) == (0, 0)
    server.stop()


def test_what_ended_the_thread_is_raised(database: str, valkey_url: str) -> None:
    consumer = Consumer(database, valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        client.set(consumer.stream, "not a stream")
    consumer.__enter__()
    until("it has ended", lambda: not consumer._thread.is_alive())
    for ask in (consumer.check, consumer.stop):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            ask()


def test_an_error_that_a_retry_cannot_cure_ends_the_thread(
    strategy: WriteBehind, database: str, valkey_url: str
) -> None:
    strategy.write("ada", "likes")
    with psycopg.connect(database) as connection:
        connection.execute("DROP FUNCTION reactive.store")
    consumer = Consumer(database, valkey_url)
    consumer.__enter__()
    until("it has ended", lambda: not consumer._thread.is_alive())
    with pytest.raises(psycopg.errors.UndefinedFunction):
        consumer.stop()


def strategy_stream() -> str:
    return stream_key("profile")


def pending(client: redis.Redis) -> int:
    """How many messages somebody has taken and not acknowledged."""
    if not client.exists(strategy_stream()):
        return 0
    return int(client.xpending(strategy_stream(), GROUP)["pending"])
