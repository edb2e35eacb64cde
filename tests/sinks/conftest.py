"""What the tests of both sinks share: a table, a topic of the test's own, and a reader of it."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactive_demo import ChangeTableFeed, Listener, Stack
from reactive_demo.sinks.broker import BrokerSink
from reactive_demo.sinks.kafka import KafkaSink
from reactive_demo.sinks.rabbitmq import RabbitSink
from reactive_demo.tutorial.brokers import Reader
from tools.brokers import KINDS, require_rabbitmq

_numbers = itertools.count(1)


@pytest.fixture(params=["rabbitmq", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "rabbitmq":
        require_rabbitmq()
    return str(request.param)


@pytest.fixture
def topic() -> str:
    return f"sinks.{next(_numbers)}"


@pytest.fixture
def url(stack: Stack, kind: str) -> str:
    return str(getattr(stack, KINDS[kind][1]))


@pytest.fixture
def subscribe(kind: str, url: str, topic: str) -> Iterator[Callable[[], Reader]]:
    """Become the reader of the topic, again and again."""
    readers: list[Reader] = []

    def subscribed() -> Reader:
        readers.append(KINDS[kind][0](url).subscribe(topic))
        return readers[-1]

    yield subscribed
    for reader in readers:
        reader.close()


@pytest.fixture
def make_sink(kind: str, url: str, topic: str) -> Iterator[Callable[..., BrokerSink]]:
    sinks: list[BrokerSink] = []

    def made(**options: Any) -> BrokerSink:
        make = RabbitSink if kind == "rabbitmq" else KafkaSink
        sinks.append(make(url, topic=topic, **options))
        return sinks[-1]

    yield made
    for sink in sinks:
        sink.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Listener]]:
    """Start listeners that end with the test, and wait until they are live, or just connecting."""
    started: list[Listener] = []

    def begun(database: str, sink: BrokerSink, *, state: str = "live", **options: Any) -> Listener:
        started.append(Listener(ChangeTableFeed(database), sink, **options).start())
        started[-1].wait_until(state, 20)
        return started[-1]

    yield begun
    for listener in started:
        listener.stop()
