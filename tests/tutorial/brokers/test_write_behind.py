"""Write-behind over RabbitMQ and Kafka, by one argument, and what it keeps when they are harmed."""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from reactive_demo import Profiles, Stack
from reactive_demo.errors import UnavailableError
from reactive_demo.redis_cache.keys import stream_key
from reactive_demo.sinks.amqp import open_channel
from reactive_demo.tutorial.brokers import Broker
from reactive_demo.tutorial.chapter_setup import install_bare
from reactive_demo.tutorial.strategies import Consumer, WriteBehind
from reactive_demo.tutorial.strategies.consumer import GROUP
from tools.brokers import KINDS, kill, require_rabbitmq
from tools.waiting import until

pytestmark = pytest.mark.long

TOPIC = stream_key("profile").replace(":", ".")


class Likes(NamedTuple):
    """Write-behind at work, with a consumer."""

    strategy: WriteBehind
    profiles: Profiles
    broker: Broker

    def stored(self, username: str = "ada") -> int:
        """How many likes the database has."""
        return int((self.profiles.get(username) or {}).get("likes_count", 0))

    def write(self, times: int, username: str = "ada") -> int:
        """Write that many likes, one that the broker does not take again; return the attempts."""
        attempts = itertools.count()
        for _ in range(times):
            until("the broker takes it", partial(self._is_taken, username, attempts), timeout=40)
        return next(attempts)

    def _is_taken(self, username: str, attempts: Iterator[int]) -> bool:
        next(attempts)
        with suppress(UnavailableError):
            self.strategy.write(username, "likes")
            return True
        return False


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "rabbitmq":
        require_rabbitmq()
    return str(request.param)


@pytest.fixture
def likes(kind: str, database_url: str, valkey_url: str, stack: Stack) -> Iterator[Likes]:
    install_bare(database_url)
    make, address = KINDS[kind]
    broker = make(getattr(stack, address))
    with (
        WriteBehind(database_url, valkey_url, broker=broker) as strategy,
        Profiles(database_url) as profiles,
        Consumer(database_url, valkey_url, broker=broker),
    ):
        yield Likes(strategy, profiles, broker)
    broker.close()


def test_each_write_arrives_once(likes: Likes) -> None:
    attempts = likes.write(50)
    until("all is stored", lambda: likes.stored() >= 50, timeout=20)
    assert likes.stored() <= attempts  # the broker may have kept what it did not confirm
    assert likes.strategy.read("ada")["likes_count"] == attempts  # the copy has them all


def test_a_broker_that_is_killed_half_way(kind: str, likes: Likes) -> None:
    """RabbitMQ keeps what it has confirmed; what speaks Kafka's protocol forgets what waits."""
    done = [0, 0]  # taken by the broker, and refused
    ending = threading.Event()

    def write() -> None:
        while not ending.wait(0.002):
            try:
                likes.strategy.write("ada", "likes")
                done[0] += 1
            except UnavailableError:
                done[1] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until("some are stored", lambda: likes.stored() > 50, timeout=20)
        kill(Path(os.environ["REACTIVE_DEMO_HOME"]), kind)
        taken = done[0]
        until("it takes more", lambda: done[0] > taken + 50, timeout=40)
    finally:
        ending.set()
        writer.join()
    if kind == "rabbitmq":
        assert done[1] > 0
        until("all that was taken is stored", lambda: likes.stored() >= done[0], timeout=20)
    likes.write(3, "bob")
    until("what comes after is stored", lambda: likes.stored("bob") >= 3, timeout=30)
    assert likes.stored() <= sum(done)
    assert likes.strategy.read("ada")["likes_count"] == sum(done)  # the copy has them all


@pytest.mark.parametrize("kind", ["rabbitmq"])
def test_a_queue_that_somebody_deletes_is_made_again(likes: Likes) -> None:
    """Not Kafka: its client (2.16) crashes where a topic that it reads is deleted from Tansu."""
    likes.write(5)
    until("all is stored", lambda: likes.stored() == 5, timeout=20)
    channel = open_channel(likes.broker.url, heartbeat=0)
    channel.queue_delete(f"{TOPIC}.{GROUP}")
    channel.connection.close()
    likes.write(5, "bob")
    until("what comes after is stored", lambda: likes.stored("bob") >= 5, timeout=30)
