"""The lab's brokers: one that cannot be used is missing and says why, and the other stands in."""

import re

import pytest

from reactive_demo.errors import ConfigurationError
from reactive_demo.tutorial.brokers.lab import BrokerLab
from reactive_demo.tutorial.brokers.pubsub import PubSub

NOWHERE = re.escape("does not answer (")


@pytest.mark.long
def test_brokers_of_your_own_that_do_not_answer_are_missing(
    monkeypatch: pytest.MonkeyPatch, refused_port: int
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", f"amqp://ada:s3cret@127.0.0.1:{refused_port}/")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{refused_port}")
    with BrokerLab() as lab:
        assert list(lab.brokers) == ["NOTIFY", "Redis Pub/Sub", "Redis Streams"]
        for name in ("RabbitMQ", "Kafka"):
            assert re.search(rf"{name}: missing\. {name} {NOWHERE}.*start that server", repr(lab))
        assert "s3cret" not in repr(lab)


def test_of_two_that_one_has_the_wanted_one_is_taken() -> None:
    lab = BrokerLab()
    rabbitmq, kafka = PubSub("redis://h"), PubSub("redis://h")  # nothing is asked of them
    lab.brokers = {"RabbitMQ": rabbitmq, "Kafka": kafka}
    assert lab.either("Kafka", "RabbitMQ") == "Kafka"
    del lab.brokers["Kafka"]
    lab.missing["Kafka"] = "Install it."
    assert lab.either("Kafka", "RabbitMQ") == "RabbitMQ"
    lab.brokers.clear()
    lab.missing["RabbitMQ"] = "Install that."
    with pytest.raises(ConfigurationError, match="Install it"):
        lab.either("Kafka", "RabbitMQ")
