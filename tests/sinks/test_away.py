"""Whatever is away, for however long: an attempt to reach it leaves nothing behind."""

import gc
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
import psycopg
import pytest
import redis

from reactive_demo import Stack
from reactive_demo.errors import UnavailableError
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.client import connect_async_redis, connect_redis, open_redis
from reactive_demo.sinks import kafka
from reactive_demo.sinks.kafka import KafkaSink
from reactive_demo.sinks.rabbitmq import RabbitSink
from reactive_demo.tutorial.brokers.kafka import create_topic
from tools.loops import run_coroutine
from tools.servers import hanging_up

ATTEMPTS = 20

INCARNATION = "1/1/00000001/x"


@pytest.fixture(params=["refused", "hung up"])
def away(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that is none, in either way."""
    if request.param == "hung up":
        with hanging_up() as (address, _):
            yield address
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    yield f"127.0.0.1:{port}"


def to_postgres(address: str) -> Callable[[], object]:
    return lambda: open_postgres(f"postgresql://{address}/x", "test")


def to_redis(address: str) -> Callable[[], object]:
    return lambda: connect_redis(f"redis://{address}/0")


def to_redis_in_a_loop(address: str) -> Callable[[], object]:
    return lambda: run_coroutine(connect_async_redis(f"redis://{address}/0"))


def to_sentinels(address: str) -> Callable[[], object]:
    return lambda: open_redis(f"redis+sentinel://{address}/primary/0").ping()


def to_rabbitmq(address: str) -> Callable[[], object]:
    sink = RabbitSink(f"amqp://ada:s3cret@{address}/")
    return lambda: sink.acquire_lease(INCARNATION)


def to_kafka(address: str) -> Callable[[], object]:
    sink = KafkaSink(address)
    return lambda: sink.acquire_lease(INCARNATION)


def kept(attempt: Callable[[], object]) -> set[str]:
    """Return what each attempt leaves behind: the kinds of objects, descriptors and threads.

    Not even until garbage is collected may it leave the last two. What happens once, or is the
    other threads' of this process, is not there each time.
    """

    def round_of_attempts() -> set[str]:
        known, before = kinds(), held()
        gc.disable()
        try:
            for _ in range(ATTEMPTS):
                attempt()
            new = held() - before
        finally:
            gc.enable()
        new += kinds() - known
        return {kind for kind, count in new.items() if count >= ATTEMPTS}

    def held() -> Counter[str]:
        return Counter(descriptors=process.num_fds(), threads=process.num_threads())

    def kinds() -> Counter[str]:
        gc.collect()
        return Counter(type(each).__qualname__ for each in gc.get_objects())

    process = psutil.Process()
    return round_of_attempts() & round_of_attempts()


@pytest.mark.parametrize(
    "to", [to_postgres, to_redis, to_redis_in_a_loop, to_sentinels, to_rabbitmq, to_kafka]
)
def test_attempts_in_vain_leave_nothing(
    to: Callable[[str], Callable[[], object]],
    away: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # pytest keeps each record, and so the errors in those of pika, with all that they refer to.
    caplog.set_level(logging.CRITICAL, "pika")
    monkeypatch.setattr(kafka, "TIMEOUT", 0.1)  # its client waits that long, whatever is wrong
    attempt = to(away)

    def in_vain() -> None:
        with pytest.raises((psycopg.OperationalError, redis.ConnectionError, UnavailableError)):
            attempt()

    assert kept(in_vain) == set()


@pytest.mark.long
def test_a_topic_that_exists_costs_no_threads(stack: Stack, topic: str) -> None:
    create_topic(stack.kafka_servers, topic)
    assert kept(lambda: create_topic(stack.kafka_servers, topic)) == set()
