"""RabbitMQ: an exchange copies each message into the queues that are bound to it."""

from contextlib import suppress
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import UnroutableError

from reactive_demo.errors import ReactiveDemoError, UnavailableError
from reactive_demo.sinks import amqp
from reactive_demo.tutorial.brokers.broker import Broker, Reader

__all__ = ["RabbitMQ"]

PREFETCH = 100
"""Messages that a reader may hold unacknowledged; of several that share, each holds one."""

PAUSE = 0.01
"""Seconds that the client waits before it says that there is nothing."""


def open_channel(url: str) -> BlockingChannel:
    """Connect; a reader may think for an hour, so neither side expects a sign of life."""
    return amqp.open_channel(url, heartbeat=0)


def close_channel(channel: BlockingChannel) -> None:
    """Close the channel's connection, which may be lost already."""
    with suppress(*amqp.LOST):
        channel.connection.close()


class QueueReader(Reader):
    """A consumer of a durable queue, which stays when the consumer goes."""

    def __init__(self, url: str, topic: str, name: str, prefetch: int) -> None:
        self._channel = open_channel(url)
        self._last = 0
        queue = f"{topic}.{name}"
        self._channel.exchange_declare(topic, "topic", durable=True)
        self._channel.queue_declare(queue, durable=True)
        self._channel.queue_bind(queue, topic, "#")  # whatever the routing key
        self._channel.basic_qos(prefetch_count=prefetch)  # else the first reader takes all there is
        self._consumed = self._channel.consume(queue, inactivity_timeout=PAUSE)

    def read(self, timeout: float = 1.0) -> str | None:
        """Return the next message."""
        for _ in range(max(1, round(timeout / PAUSE))):
            if (delivered := next(self._consumed, None)) is None:
                raise UnavailableError("RabbitMQ's queue was deleted: subscribe again.")
            method, _, body = delivered
            if method is not None:
                self._last = method.delivery_tag
                return bytes(body).decode()
        return None

    def acknowledge(self) -> None:
        """Have the queue forget what was delivered until now."""
        if self._last:
            self._channel.basic_ack(self._last, multiple=True)
            self._last = 0

    def close(self) -> None:
        """Leave: what is not acknowledged goes back to the queue."""
        close_channel(self._channel)


class RabbitMQ(Broker):
    """Persistent messages into durable queues, with publisher confirms."""

    name = "RabbitMQ"
    promise = "in each queue until acknowledged; at least once"
    lost = (*amqp.LOST, UnavailableError)

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._channel: BlockingChannel | None = None
        self._declared: set[str] = set()

    def publish(self, topic: str, body: str, key: str = "", transaction: Any = None) -> bool:
        """Publish, and wait for the confirm: the message is then on disk, in every queue."""
        del transaction
        if self._channel is None:
            self._channel = open_channel(self.url)
            self._channel.confirm_delivery()
            self._declared.clear()
        if topic not in self._declared:
            self._channel.exchange_declare(topic, "topic", durable=True)
            self._declared.add(topic)
        persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
        try:
            self._channel.basic_publish(topic, key, body.encode(), persistent, mandatory=True)
        except UnroutableError:  # no queue is bound: without `mandatory`, nobody would know
            return False
        return True

    def subscribe(
        self, topic: str, name: str = "reader", share: tuple[int, int] = (0, 1)
    ) -> Reader:
        """Consume the queue `name`, which begins to collect when it is first declared."""
        return QueueReader(self.url, topic, name, 1 if share[1] > 1 else PREFETCH)

    def check(self) -> None:
        """Connect, and close that again."""
        close_channel(open_channel(self.url))

    def sentence(self, error: Exception) -> ReactiveDemoError:
        """Return the library's error."""
        return error if isinstance(error, ReactiveDemoError) else amqp.sentence(error)

    def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            close_channel(self._channel)
            self._channel = None
