"""KafkaSink: each batch and its position in one transaction of Kafka's.

    Listener(ChangeTableFeed(database_url), KafkaSink(servers)).start()

The partition of a row follows from its key, so the changes of a row stay in order. The producer's
transactional id is that of the topic: a new leader's producer fences the one before. Readers that
say `isolation.level=read_committed` see each batch whole or not at all. The position comes last in
the transaction, and after the broker has all the rest of it: so even a broker that shows what was
aborted shows no position without its batch. It says where each partition ended: a topic that is
shorter was deleted, and is filled again.

Needs the extra `brokers`.
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from reactive_demo.errors import (
    ConfigurationError,
    FencedError,
    ReactiveDemoError,
    RefusedError,
    UnavailableError,
)
from reactive_demo.sinks.broker import BrokerSink, ValueRefusedError
from reactive_demo.urls import read_kafka_servers

__all__ = ["QUIET", "KafkaSink", "error_of", "fatal_errors_raised", "sentence"]

TIMEOUT = 5.0
"""Seconds to wait for an answer."""

RECENT = 1_000
"""Records of the positions' topic among which the newest position is looked for first."""

GONE = b"\x00"
"""The key of a message about no row in particular: no text of PostgreSQL's contains it."""

QUIET: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}
"""Settings of every client: what it would print is raised."""

AWAY = (
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
)

NOT_ALLOWED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)

FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)  # noqa: SLF001


class KafkaSink(BrokerSink):
    """The changes of one table, in a topic of Kafka's, `reactive_demo.<table>` unless named.

    A new topic gets `partitions`; one that exists stays as it is, and so does its retention.
    `config` holds properties of librdkafka's, the client: TLS, a login. What the sink sets itself,
    such as `transactional.id`, cannot be changed. Raises ConfigurationError.
    """

    def __init__(
        self,
        servers: str,
        table: str = "profile",
        *,
        topic: str | None = None,
        partitions: int = 4,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(read_kafka_servers(servers, "The broker's address"), table, topic)
        if not re.fullmatch(r"[\w.-]{1,230}", self.topic, re.ASCII):
            raise ConfigurationError(
                f"Kafka has no topics with the name {self.topic!r}: give one, KafkaSink(..., "
                "topic=...), of letters, digits, dots and hyphens."
            )
        self._settings = {**(config or {}), "bootstrap.servers": self.url, **QUIET}
        with _translated():
            AdminClient({**self._settings, "bootstrap.servers": ""})  # connects to nothing
        self._partitions = partitions
        self._positions = f"{self.topic}.position"
        self._producer: Producer | None = None
        self._ends: dict[str, int] = {}
        """The offset of the last message sent, by partition."""

    @property
    def name(self) -> str:
        """The addresses and the topic."""
        return f"{self.url}/{self.topic}"

    def open_term(self, kind: str) -> int:
        """Return the number of a new term: how many there have been."""
        terms = self._terms(kind)
        with _translated():
            _create_topic(self._settings, terms, 1)
            numbers: list[int] = []
            producer = Producer(self._settings)
            producer.produce(
                terms,
                b"a term",
                on_delivery=lambda _, sent: numbers.append((sent.offset() or 0) + 1),
            )
            if producer.flush(TIMEOUT):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
        return numbers[0]

    def current_term(self, kind: str) -> int:
        """Return the number of the newest term."""
        with _translated(), _reader(self._settings) as reader:
            place = TopicPartition(self._terms(kind), 0)
            with suppress(KafkaException):  # there is no such topic
                return int(reader.get_watermark_offsets(place, timeout=TIMEOUT)[1])
        return 0

    def seconds_without_leader(self) -> float:
        """Return how long ago a leader last wrote, by its clock."""
        with suppress(UnavailableError):
            return float(time.time() - self._newest_position().get("alive", -math.inf))
        return 0.0

    def _terms(self, kind: str) -> str:
        return f"{self.topic}.terms.{re.sub(r'[^a-zA-Z0-9]', '-', kind)}"

    def _peek(self) -> dict[str, Any]:
        self._create_topics()
        return self._newest_position()

    def _open(self) -> None:
        self._create_topics()
        with _translated():
            self._producer = Producer(
                {
                    **self._settings,
                    "transactional.id": self.topic,
                    "transaction.timeout.ms": 10_000,
                    "linger.ms": 0,
                }
            )
            self._producer.init_transactions(TIMEOUT)

    def _create_topics(self) -> None:
        with _translated():
            _create_topic(self._settings, self.topic, self._partitions)
            _create_topic(self._settings, self._positions, 1, **{"cleanup.policy": "compact"})

    def _close(self) -> None:
        if self._producer is not None:
            with suppress(KafkaException):
                self._producer.purge()
        self._producer = None

    def _read_position(self) -> dict[str, Any]:
        """Return the newest position; of no incarnation if the messages are not there any more."""
        position = self._newest_position()
        self._ends = position.pop("ends", {})
        with _translated(), _reader(self._settings) as reader:
            for partition, last in self._ends.items():
                place = TopicPartition(self.topic, int(partition))
                if last >= reader.get_watermark_offsets(place, timeout=TIMEOUT)[1]:
                    self._ends = {}
                    return {**position, "incarnation": ""}
        return position

    def _newest_position(self) -> dict[str, Any]:
        with _translated(), _reader(self._settings) as reader:
            place = TopicPartition(self._positions, 0)
            first, end = reader.get_watermark_offsets(place, timeout=TIMEOUT)
            for start in (max(first, end - RECENT), first):
                reader.assign([TopicPartition(self._positions, 0, start)])
                if newest := _last(reader):
                    return dict(json.loads(newest))
        return {}

    def _send(
        self, messages: Sequence[tuple[str | None, str]], position: dict[str, Any] | None
    ) -> None:
        producer = self._producer
        if producer is None:
            raise FencedError("the sink was closed")
        refused: list[KafkaError] = []
        ends = dict(self._ends)

        def note(error: KafkaError | None, sent: Message) -> None:
            if error:
                refused.append(error)
            elif sent.topic() == self.topic:
                ends[str(sent.partition())] = sent.offset() or 0

        with _translated():
            producer.begin_transaction()
            try:
                for key, body in messages:
                    self._produce(producer, key, body, note)
                _flush(producer, refused)
                if any(last < self._ends.get(part, 0) for part, last in ends.items()):
                    raise UnavailableError(  # noqa: TRY301
                        f"Kafka's topic {self.topic} was deleted: all rows are sent again."
                    )
                if position is not None:
                    body = json.dumps({**position, "alive": time.time(), "ends": ends})
                    producer.produce(self._positions, body, b"position", 0, note)
                    _flush(producer, refused)
                producer.commit_transaction(TIMEOUT)
            except (KafkaException, SystemError, UnavailableError):
                with suppress(KafkaException):
                    producer.abort_transaction(TIMEOUT)
                raise
        self._ends = ends

    def _produce(
        self, producer: Producer, key: str | None, body: str, note: Callable[..., None]
    ) -> None:
        """Send a message; one about no row in particular goes to all partitions."""
        if key is not None:
            _queue(producer, self.topic, body, key.encode(), note)
            return
        known = producer.list_topics(self.topic, TIMEOUT).topics[self.topic].partitions
        for partition in known:
            _queue(producer, self.topic, body, GONE, note, partition=partition)


def _queue(
    producer: Producer,
    topic: str,
    body: str,
    key: bytes,
    note: Callable[..., None],
    *,
    partition: int = -1,  # by the key
) -> None:
    """Put a message into the producer's queue; wait while that is full."""
    while True:
        try:
            producer.produce(topic, body.encode(), key, partition, note)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def _flush(producer: Producer, refused: Sequence[KafkaError]) -> None:
    """Wait until the broker has all. Raises KafkaException."""
    if producer.flush(TIMEOUT):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
    if refused:
        raise KafkaException(refused[0])


@contextmanager
def _reader(settings: Mapping[str, Any]) -> Iterator[Consumer]:
    reader = Consumer(
        {
            **settings,
            "group.id": "reactive_demo",  # required, and not joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        yield reader
    finally:
        reader.close()


def _last(reader: Consumer) -> bytes | None:
    """Return the last message of what is assigned."""
    newest = None
    while (message := reader.poll(TIMEOUT)) is not None:
        if (error := message.error()) is None:
            newest = message.value()
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            return newest
        else:
            raise KafkaException(error)
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001


def _create_topic(settings: Mapping[str, Any], topic: str, partitions: int, **config: str) -> None:
    """Create the topic if there is none. Each attempt to reach the broker begins here."""
    said: list[KafkaError] = []
    telling: dict[str, Any] = {**settings, "error_cb": said.append}
    admin = AdminClient(telling)  # which must live until it has its answers
    error = error_of(
        admin.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT)[topic]
    )
    if error and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        wanted = NewTopic(topic, num_partitions=partitions, config=config)
        error = error_of(admin.create_topics([wanted], request_timeout=TIMEOUT)[topic])
    if error and error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
        admin.poll(0)  # only now does the client say why
        reasons = (reason for reason in said if reason.code() != KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001
        raise KafkaException(next(reasons, error) if error.code() in AWAY else error)


def error_of(answer: Future[Any]) -> KafkaError | None:
    """Wait for an answer; return its error, if that is what it is.

    A client whose call is in the traceback of a future's exception is part of a cycle, and keeps
    its threads and sockets until that is collected. What the client's other calls raise is never
    freed at all.
    """
    raised = answer.exception()
    return raised.args[0] if raised else None


@contextmanager
def fatal_errors_raised() -> Iterator[None]:
    """Raise what has ended a producer, where that surfaces while it reports a delivery.

    Python finds the error set when the report returns, and raises a SystemError because of it.
    """
    try:
        yield
    except SystemError as error:
        if isinstance(error.__cause__, KafkaException):
            raise error.__cause__ from None
        raise


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the library's errors in place of the client's."""
    try:
        with fatal_errors_raised():
            yield
    except (KafkaException, TimeoutError) as error:
        cause = error.args[0] if isinstance(error, KafkaException) else None
        if cause and cause.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise ValueRefusedError(cause.str()) from None
        if cause and cause.code() in FENCED:
            raise FencedError("another listener's producer has taken over") from None
        raise sentence(error) from None


def sentence(error: Exception) -> ReactiveDemoError:
    """Return the library's error for one of the client's: what is wrong, then what to do."""
    cause = error.args[0] if isinstance(error, KafkaException) else None
    said = cause.str().partition(" (after ")[0] if cause else "nothing in time"
    if cause is None or cause.code() in AWAY:
        return UnavailableError(
            f"Kafka does not answer ({said}): start that server, or correct its address."
        )
    if cause.code() == KafkaError._INVALID_ARG:  # noqa: SLF001
        return ConfigurationError(f"Kafka's client refuses its configuration ({said}): correct it.")
    if cause.code() == KafkaError._SSL:  # noqa: SLF001
        return UnavailableError(
            f"TLS with Kafka fails ({said}): correct the certificate there, or the client's "
            "configuration."
        )
    if cause.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001
        return RefusedError(
            f"Kafka refuses the login ({said}): correct the user, the password or the mechanism."
        )
    if cause.code() in NOT_ALLOWED:
        return RefusedError(f"Kafka refuses ({said}): give that right there.")
    return UnavailableError(f"Kafka does not take it ({said}): see whether that server runs.")
