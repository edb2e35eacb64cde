"""The wire between a client and a real server: its delay, its faults and its figures."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis

from reactive_demo import ReactiveDemoError
from reactive_demo.tutorial.fault_proxy import FaultProxy
from tools.waiting import until

MEGABYTES = 3_000_000

kinds = pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])


@pytest.fixture
def wire(database_url: str) -> Iterator[FaultProxy]:
    with FaultProxy.to_postgres(database_url) as relay:
        yield relay


@pytest.fixture
def wired(wire: FaultProxy) -> Iterator[psycopg.Connection]:
    """A connection through the wire."""
    with psycopg.connect(wire.url, autocommit=True, prepare_threshold=None) as connection:
        yield connection


@kinds
def test_everything_goes_through_to_postgres_and_back(database_url: str, *, tcp: bool) -> None:
    with (
        FaultProxy.to_postgres(database_url, tcp=tcp) as wire,
        psycopg.connect(wire.url) as connection,
    ):
        text = "ab" * MEGABYTES
        [(echo,)] = connection.execute("SELECT %s || 'c'", [text]).fetchall()
        assert echo == text + "c"
        with connection.cursor().copy("COPY (SELECT generate_series(1, 100000)) TO STDOUT") as copy:
            assert [int(row[0]) for row in copy.rows()] == list(range(1, 100_001))


@kinds
def test_everything_goes_through_to_redis_and_back(redis_url: str, *, tcp: bool) -> None:
    with FaultProxy.to_redis(redis_url, tcp=tcp) as wire, redis.Redis.from_url(wire.url) as client:
        client.set("long", b"ab" * MEGABYTES)
        assert client.get("long") == b"ab" * MEGABYTES
        with client.pipeline(transaction=False) as batch:
            for number in range(10_000):
                batch.rpush("numbers", number)
            batch.execute()
        assert client.lrange("numbers", 0, -1) == [b"%d" % number for number in range(10_000)]


def test_a_relay_stands_before_a_server_on_tcp_or_before_another_relay(database_url: str) -> None:
    with (
        FaultProxy.to_postgres(database_url, tcp=True) as first,
        FaultProxy.to_postgres(first.url) as second,
        psycopg.connect(second.url) as connection,
    ):
        assert connection.info.hostaddr == "127.0.0.1"
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert first.connections == 2  # one was to learn where the URL leads


def test_a_round_trip_takes_the_delay_longer_from_the_moment_it_is_set(
    wire: FaultProxy, wired: psycopg.Connection
) -> None:
    for delay in (0.05, 0.02, 0.08):
        wire.delay = delay
        begun = time.perf_counter()
        wired.execute("SELECT 1")
        assert time.perf_counter() - begun >= delay


def test_a_chunk_never_overtakes_another(valkey_url: str) -> None:
    with FaultProxy.to_redis(valkey_url) as wire, redis.Redis.from_url(wire.url) as client:
        subscriber = client.pubsub(ignore_subscribe_messages=True)
        subscriber.subscribe("numbers")
        until("it has subscribed", lambda: client.pubsub_numsub("numbers")[0][1] == 1)
        with redis.Redis.from_url(valkey_url) as direct:
            for number in range(100):
                wire.delay = 0.02 * (number % 2)
                direct.publish("numbers", number)
        heard: list[int] = []

        def all_came() -> bool:
            if message := subscriber.get_message(timeout=1):
                heard.append(int(message["data"]))
            return len(heard) == 100

        until("all came", all_came)
        assert heard == list(range(100))
        subscriber.close()


def test_what_is_sent_before_the_answer_is_one_round_trip(
    wire: FaultProxy, wired: psycopg.Connection
) -> None:
    wire.delay = 0.2  # far longer than it takes to send
    before = wire.round_trips
    for _ in range(3):
        wired.execute("SELECT 1")
    assert wire.round_trips == before + 3
    with wired.pipeline():
        cursors = [wired.execute("SELECT %s", [number]) for number in range(50)]
    assert wire.round_trips == before + 4
    assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(50)]


def test_a_cut_wire_ends_its_connections_and_refuses_new_ones_until_it_is_mended(
    database_url: str, wire: FaultProxy, wired: psycopg.Connection
) -> None:
    wire.cut()
    wire.cut()
    with pytest.raises(psycopg.OperationalError):
        wired.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match=r"refused|No such file"):
        psycopg.connect(wire.url)
    with psycopg.connect(database_url, autocommit=True) as direct:
        until("the server has heard of it", lambda: sessions(direct) == 0)
    wire.restore()
    with psycopg.connect(wire.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@kinds
def test_a_silent_wire_closes_nothing_and_brings_all_when_it_is_mended(
    valkey_url: str, *, tcp: bool
) -> None:
    with (
        FaultProxy.to_redis(valkey_url, tcp=tcp) as wire,
        redis.Redis.from_url(valkey_url) as direct,
    ):
        patient = redis.Redis.from_url(wire.url)
        patient.ping()
        wire.blackhole()
        thread = threading.Thread(target=patient.set, args=["key", "value"], daemon=True)
        thread.start()
        with redis.Redis.from_url(wire.url, socket_timeout=0.1, retry=None) as hasty:
            with pytest.raises(redis.TimeoutError):
                hasty.ping()
            assert thread.is_alive()
            assert direct.get("key") is None
            wire.restore()
            thread.join(5)
            assert direct.get("key") == b"value"
            assert hasty.ping()
        patient.close()


def test_a_forgotten_connection_stays_dead_while_new_ones_work(
    wire: FaultProxy, wired: psycopg.Connection
) -> None:
    wire.forget()

    def ask() -> None:
        with suppress(psycopg.OperationalError):
            wired.execute("SELECT 1")

    thread = threading.Thread(target=ask)
    thread.start()
    with psycopg.connect(wire.url) as connection:
        connection.execute("SELECT 1")
    wire.restore()
    assert thread.is_alive()
    wire.cut()
    thread.join(5)
    assert not thread.is_alive()


def test_a_client_that_is_killed_is_gone_for_the_server_too(
    database_url: str, wire: FaultProxy
) -> None:
    program = "import sys, psycopg; c = psycopg.connect(sys.argv[1]); print(1, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, wire.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"1\n"
    with psycopg.connect(database_url, autocommit=True) as direct:
        assert sessions(direct) == 1
        process.send_signal(signal.SIGKILL)
        until("its session is gone", lambda: sessions(direct) == 0)
    process.communicate(timeout=5)


def test_without_a_server_there_is_no_wire(tmp_path: Path) -> None:
    with pytest.raises(ReactiveDemoError, match="start that server"):
        FaultProxy.to_postgres(f"postgresql://ada:secret@/x?host={tmp_path}")
    with (
        FaultProxy.to_redis(f"unix://{tmp_path}/nobody") as wire,
        redis.Redis.from_url(wire.url, retry=None) as client,
        pytest.raises(redis.ConnectionError),
    ):
        client.ping()


def test_nothing_is_left_of_a_closed_wire(database_url: str, wire: FaultProxy) -> None:
    with psycopg.connect(wire.url):
        wire.delay = 5
        wire.close()
    wire.close()
    assert not wire._thread.is_alive()
    assert not Path(wire._folder.name).exists()
    with psycopg.connect(database_url, autocommit=True) as direct:
        until("the server has heard of it", lambda: sessions(direct) == 0)


def sessions(connection: psycopg.Connection) -> int:
    """How many others are connected to this database."""
    [(count,)] = connection.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchall()
    return int(count)
