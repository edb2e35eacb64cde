"""What is wrong with a broker is told in a sentence; nothing hangs or is silently lost."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from reactive_demo import Listener, Profiles, Stack
from reactive_demo.errors import ConfigurationError
from reactive_demo.sinks.amqp import open_channel
from reactive_demo.sinks.broker import BrokerSink
from reactive_demo.sinks.kafka import KafkaSink
from reactive_demo.sinks.rabbitmq import RabbitSink
from reactive_demo.tutorial.brokers import Reader
from sinks.service import Seen, agrees
from tools.brokers import frozen, messages, out_of_disk, require_rabbitmq
from tools.waiting import until

pytestmark = pytest.mark.long


@dataclass
class Course:
    """A table, and what carries its changes to a reader."""

    database: str
    url: str
    topic: str
    make_sink: Callable[[], BrokerSink]
    subscribe: Callable[[], Reader]
    start: Callable[..., Listener]

    def follow(self) -> Listener:
        """Start a listener, and wait until it is live."""
        return self.start(self.database, self.make_sink())

    def await_reader(self, reader: Reader) -> None:
        """Wait until the reader knows what the table holds."""
        seen = Seen()
        until(
            "the reader knows all",
            lambda: agrees(self.database, seen.take(messages(reader, 0.2))),
            timeout=40,
        )

    def delete(self, *, exchange: str = "", queue: str = "") -> None:
        """Delete something of RabbitMQ's, as an operator does by hand."""
        channel = open_channel(self.url, heartbeat=0)
        if exchange:
            channel.exchange_delete(exchange)
        if queue:
            channel.queue_delete(queue)
        channel.connection.close()


@pytest.fixture
def course(kind: str, request: pytest.FixtureRequest) -> Course:
    del kind  # which the others ask for
    return Course(*map(request.getfixturevalue, Course.__annotations__))


@pytest.fixture
def home() -> Path:
    return Path(os.environ["REACTIVE_DEMO_HOME"])


# Addresses


@pytest.mark.parametrize(
    "url", ["http://h/", "h:5672", "amqp://u:s3cret@h:99999/", "amqp://h/?heartbeat=x"]
)
def test_a_url_that_is_none_of_rabbitmqs_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^The broker's URL .*: ") as raised:
        RabbitSink(url)
    assert "s3cret" not in str(raised.value)


def test_an_address_that_is_none_of_kafkas_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"^The broker's address is not .*: correct it\.$"):
        KafkaSink("kafka://h:9092")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (":[^:@]*@", ":s3cret@", "RabbitMQ refuses the user or the password: correct its URL."),
        ("%2F$", "nowhere", "RabbitMQ refuses (NOT_ALLOWED - vhost nowhere not found): correct"),
        (r":\d+/", ":1/", "Connection refused): start that server, or correct its URL."),
        ("@.*:", "@nowhere.invalid:", "RabbitMQ does not answer ([Errno "),
        ("^amqp", "amqps", "RabbitMQ does not answer ([SSL"),
    ],
)
def test_a_rabbitmq_that_cannot_be_used_says_why(
    old: str, new: str, words: str, stack: Stack, request: pytest.FixtureRequest
) -> None:
    require_rabbitmq()
    database, start = map(request.getfixturevalue, ("database", "start"))
    url = re.sub(old, new, stack.rabbitmq_url)
    listener = start(database, RabbitSink(url), state="connecting")
    until(words, lambda: words in listener.status_text, timeout=20)
    assert "s3cret" not in listener.status_text


def test_what_does_not_speak_amqp_is_given_up_and_tried_again(
    stack: Stack, database: str, start: Any
) -> None:
    """The client's errors of a connection that is still being made are no `AMQPError`."""
    sink = RabbitSink(f"amqp://a:b@{stack.kafka_servers}/")
    listener = start(database, sink, state="connecting")
    words = "RabbitMQ does not answer (nothing within 5 s): start that server"
    until("it says so", lambda: words in listener.status_text, timeout=20)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:9092"])
def test_a_kafka_that_does_not_answer_says_so(address: str, database: str, start: Any) -> None:
    listener = start(database, KafkaSink(address), state="connecting")
    until("it says so", lambda: "Kafka does not answer (" in listener.status_text, timeout=20)
    assert "start that server, or correct its address." in listener.status_text


# Trouble at the broker


def test_a_broker_that_freezes_gets_all_when_it_goes_on(
    kind: str, home: Path, course: Course, profiles: Profiles
) -> None:
    reader = course.subscribe()
    listener = course.follow()
    with frozen(home, kind):
        profiles.increment("ada", "likes")
        until("it is noticed", lambda: "does not answer" in listener.status_text, timeout=40)
    course.await_reader(reader)


@pytest.mark.parametrize("kind", ["rabbitmq"])
def test_a_full_disk_is_named_and_costs_nothing(
    home: Path, course: Course, profiles: Profiles
) -> None:
    reader = course.subscribe()
    listener = course.follow()
    with out_of_disk(home):
        profiles.increment("ada", "likes")
        words = "its disk or its memory is nearly full"
        until("it says so", lambda: words in listener.status_text, timeout=30)
    course.await_reader(reader)
    listener.wait_until("live", 30)


# What somebody deleted


@pytest.mark.parametrize("kind", ["rabbitmq"])
def test_messages_that_no_queue_takes_are_counted_and_said(
    course: Course, profiles: Profiles
) -> None:
    listener = course.follow()
    profiles.increment("ada", "likes")
    until("it says so", lambda: "bind a durable one" in listener.status_text)
    assert listener.stats.unannounced
    reader = course.subscribe()
    profiles.increment("ada", "likes")
    until("it is read", lambda: list(messages(reader, 0.2)))
    until("and all is well", lambda: listener.status_text == "live")


@pytest.mark.parametrize("kind", ["rabbitmq"])
def test_a_deleted_exchange_is_waited_for(course: Course, profiles: Profiles) -> None:
    """It has taken the bindings along, so that nothing could be sent to anybody."""
    course.subscribe().close()
    listener = course.follow()
    course.delete(exchange=course.topic)
    profiles.increment("ada", "likes")
    words = f"exchange {course.topic} was deleted"
    until("it says so", lambda: words in listener.status_text)
    course.await_reader(course.subscribe())
    listener.wait_until("live")


@pytest.mark.parametrize("kind", ["rabbitmq"])
def test_a_deleted_position_is_noticed_and_all_is_sent_again(
    course: Course, profiles: Profiles
) -> None:
    reader = course.subscribe()
    listener = course.follow()
    course.delete(queue=f"{course.topic}.position")
    profiles.increment("ada", "likes")
    until("it begins anew", lambda: listener.stats.reconnects > 0)
    course.await_reader(reader)


@pytest.mark.parametrize("kind", ["kafka"])
@pytest.mark.parametrize("is_away", [False, True])
def test_a_deleted_topic_is_filled_again(
    course: Course, profiles: Profiles, *, is_away: bool
) -> None:
    """The position says where the topic ended: one that is shorter is another topic."""
    listener = course.follow()
    for name in ("ada", "bob"):
        profiles.increment(name, "likes")
    until("both are sent", lambda: listener.stats.applied >= 2)
    if is_away:
        listener.stop()
    admin = AdminClient({"bootstrap.servers": course.url})
    admin.delete_topics([course.topic])[course.topic].result(5)
    if is_away:
        course.follow()
    else:
        profiles.increment("ada", "likes")
        until("it is noticed", lambda: listener.stats.reconnects > 0, timeout=30)
        listener.wait_until("live", 20)
    course.await_reader(course.subscribe())
