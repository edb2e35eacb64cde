"""RabbitMQ: an exchange copies each message into the queues that are bound to it."""

from contextlib import suppress
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from reactive_demo.tutorial.brokers.broker import TIMEOUT, Broker, Reader

__all__ = ["RabbitMQ"]


PREFETCH = 100
"""Messages that a reader may hold unacknowledged; of several that share, each holds one."""

PAUSE = 0.01
"""Seconds that the client waits before it says that there is nothing."""


def open_channel(url: str) -> BlockingChannel:
    """Connect; a reader may think for an hour, so neither side expects a sign of life."""
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 0
    parameters.socket_timeout = parameters.blocked_connection_timeout = TIMEOUT
    return pika.BlockingConnection(parameters).channel()


def close_channel(channel: BlockingChannel) -> None:
    """Close the channel's connection, which may be lost already."""
    with suppress(AMQPError):
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
            method, _, body = next(self._consumed)
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
    lost = (AMQPError, OSError)

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._channel: BlockingChannel | None = None
        self._declared: set[str] = set()

    def publish(self, topic: str, body: str, key: str = "", transaction: Any = None) -> None:
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
        self._channel.basic_publish(topic, key, body.encode(), persistent)

    def subscribe(
        self, topic: str, name: str = "reader", share: tuple[int, int] = (0, 1)
    ) -> Reader:
        """Consume the queue `name`, which begins to collect when it is first declared."""
        return QueueReader(self.url, topic, name, 1 if share[1] > 1 else PREFETCH)

    def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            close_channel(self._channel)
            self._channel = None
