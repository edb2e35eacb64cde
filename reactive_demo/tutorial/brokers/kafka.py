"""Kafka: a log in partitions, and each reader remembers its place."""

import time
from contextlib import suppress
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.sinks.kafka import QUIET, error_of, fatal_errors_raised, sentence
from reactive_demo.tutorial.brokers.broker import TIMEOUT, Broker, Reader

__all__ = ["Kafka"]

PARTITIONS = 2


def settings(url: str, **more: Any) -> dict[str, Any]:
    """Return a client's settings; it stays silent while the broker is away, and we time out."""
    return {"bootstrap.servers": url, **QUIET, **more}


def create_topic(url: str, topic: str, partitions: int = PARTITIONS, **config: str) -> None:
    """Create the topic if there is none."""
    admin = AdminClient(settings(url))  # which must live until it has its answer
    wanted = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config)
    error = error_of(admin.create_topics([wanted], request_timeout=TIMEOUT)[topic])
    if error and error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
        raise KafkaException(error)


class LogReader(Reader):
    """A reader of some of the topic's partitions, whose place is kept under its name."""

    def __init__(self, url: str, topic: str, name: str, share: tuple[int, int]) -> None:
        self._errors: list[KafkaError] = []
        self._consumer = Consumer(
            settings(
                url,
                **{
                    "group.id": f"{topic}.{name}",
                    "enable.auto.commit": False,
                    "auto.offset.reset": "earliest",
                    "isolation.level": "read_committed",
                    "fetch.wait.max.ms": 10,
                    "error_cb": self._note,
                },
            )
        )
        number, of = share
        # A group could deal its partitions out by itself, which takes some seconds.
        parts = self._consumer.list_topics(topic, TIMEOUT).topics[topic].partitions
        mine = [TopicPartition(topic, part) for part in parts if part % of == number]
        known = self._consumer.committed(mine, timeout=TIMEOUT)
        self._consumer.assign(known)
        self._read: dict[int, int] = {}
        self._topic = topic

    def read(self, timeout: float = 1.0) -> str | None:
        """Return the next message of one of the partitions."""
        deadline = time.monotonic() + timeout
        while True:
            message = self._consumer.poll(max(0.0, deadline - time.monotonic()))
            error = None if message is None else message.error()
            if message is not None and error is None:
                self._read[message.partition() or 0] = (message.offset() or 0) + 1
                return (message.value() or b"").decode()
            if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                self._errors.append(error)
            if self._errors:
                raise KafkaException(self._errors.pop())
            if time.monotonic() >= deadline:
                return None

    def _note(self, error: KafkaError) -> None:
        """Note that the broker is away: it may come back without the topic, or our place in it."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._errors.append(error)

    def acknowledge(self) -> None:
        """Keep the place: one number a partition, and not one for each message."""
        places = [TopicPartition(self._topic, part, at) for part, at in self._read.items()]
        if places:
            self._consumer.commit(offsets=places, asynchronous=False)

    def close(self) -> None:
        """Leave; the place stays where it was last committed."""
        self._consumer.close()


class Kafka(Broker):
    """An idempotent producer, and readers that commit their place by hand."""

    name = "Kafka"
    promise = "for a time that you set; at least once, if the reader commits its place"
    lost = (KafkaException, TimeoutError)

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._producer: Producer | None = None
        self._created: set[str] = set()

    def publish(self, topic: str, body: str, key: str = "", transaction: Any = None) -> bool:
        """Append to the partition of `key`, and wait for the broker's answer."""
        del transaction
        if self._producer is None:
            self._producer = Producer(
                settings(self.url, **{"linger.ms": 0, "enable.idempotence": True})
            )
        self._create(topic)
        failures: list[KafkaError] = []
        self._producer.produce(
            topic,
            body.encode(),
            key.encode(),
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
        with fatal_errors_raised():
            left = self._producer.flush(TIMEOUT)
        if left or failures:
            raise KafkaException(failures[0] if failures else KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
        return True

    def subscribe(
        self, topic: str, name: str = "reader", share: tuple[int, int] = (0, 1)
    ) -> Reader:
        """Continue where the reader `name` last committed its place, or at the beginning."""
        create_topic(self.url, topic)  # whatever was there before: it may have been deleted
        return LogReader(self.url, topic, name, share)

    def check(self) -> None:
        """Ask for the list of topics."""
        try:
            AdminClient(settings(self.url)).list_topics(timeout=TIMEOUT)
        except KafkaException as error:
            raise self.sentence(error) from None

    def sentence(self, error: Exception) -> ReactiveDemoError:
        """Return the library's error."""
        return sentence(error)

    def close(self) -> None:
        """Forget the connection."""
        if self._producer is not None:
            with suppress(KafkaException):
                self._producer.purge()
        self._producer = None
        self._created.clear()

    def _create(self, topic: str) -> None:
        if topic not in self._created:
            create_topic(self.url, topic)
            self._created.add(topic)
