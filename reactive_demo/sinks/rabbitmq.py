"""RabbitSink: each batch, confirmed by RabbitMQ, and then its position.

    Listener(ChangeTableFeed(database_url), RabbitSink(rabbitmq_url)).start()

The messages go to a topic exchange, with the row's key as the routing key. An exchange keeps
nothing: bind a durable queue (`#` for all rows) before the listener starts, and it misses nothing.
A queue keeps the order in which it was fed, so the changes of a row stay in order. Messages that no
queue takes are dropped, and the listener's status says so. An exchange that is deleted takes its
bindings with it: the sink then waits until a service has declared it again.

The blocking client waits for the confirm of each single message; a transaction of AMQP's confirms a
batch at once. The position is a message in a queue of length 1, where the next one takes its place.
Who leads is a matter of one more queue, which exists as long as the leader's connection, and which
no other connection can declare: a leader that was cut off cannot write either.

Needs the extra `brokers`.
"""

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from reactive_demo.errors import FencedError, ReactiveDemoError, UnavailableError
from reactive_demo.sinks.amqp import LOST, checked, open_channel, translated
from reactive_demo.sinks.broker import BrokerSink, ValueRefusedError
from reactive_demo.urls import rabbitmq_port

__all__ = ["RabbitSink"]

log = logging.getLogger(__name__)

HEARTBEAT = 5
"""Seconds; either side gives a silent connection up after two of them."""

NOT_FOUND, LOCKED, REFUSED = 404, 405, 406

LONGEST_KEY = 255
"""Bytes of a routing key."""


class RabbitSink(BrokerSink):
    """The changes of one table, in the exchange `reactive_demo.<table>` unless one is named."""

    def __init__(self, url: str, table: str = "profile", *, topic: str | None = None) -> None:
        super().__init__(checked(url), table, topic)
        self._positions = f"{self.topic}.position"
        self._lead = f"{self.topic}.leader"
        self._channel: BlockingChannel | None = None
        self._returned: list[str] = []

    @property
    def name(self) -> str:
        """The address, the virtual host and the exchange."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{rabbitmq_port(parts)}{parts.path}/{self.topic}"

    def open_term(self, kind: str) -> int:
        """Return the number of a new term: how many there have been."""
        with translated(), _channel(self.url) as channel:
            channel.queue_declare(self._terms(kind), durable=True)
            channel.confirm_delivery()
            channel.basic_publish("", self._terms(kind), b"a term", _persistent())
            return int(channel.queue_declare(self._terms(kind), passive=True).method.message_count)

    def current_term(self, kind: str) -> int:
        """Return the number of the newest term."""
        with translated(), _channel(self.url) as channel:
            declared = channel.queue_declare(self._terms(kind), durable=True)
            return int(declared.method.message_count)

    def seconds_without_leader(self) -> float:
        """Return 0 while a leader is connected, and infinity otherwise."""
        try:
            with _channel(self.url) as channel:
                channel.queue_declare(self._lead, passive=True)
        except ChannelClosedByBroker as error:
            return math.inf if error.reply_code == NOT_FOUND else 0.0
        except (ReactiveDemoError, *LOST):
            return 0.0
        return 0.0

    def missing_rights(self, *, versioned: bool = True) -> str:
        """Say what is missing where messages reach nobody: the right is no account's here."""
        del versioned
        return f"no queue takes them from the exchange {self.topic}: bind a durable one"

    def _terms(self, kind: str) -> str:
        return f"{self.topic}.terms {kind}"

    def _open(self) -> None:
        self._close()
        self._returned = []
        with translated():
            self._channel = channel = open_channel(self.url, heartbeat=HEARTBEAT)
            try:
                channel.queue_declare(self._lead, exclusive=True)
            except ChannelClosedByBroker as error:
                self._close()
                if error.reply_code != LOCKED:
                    raise
                raise UnavailableError(
                    "Another listener's connection to RabbitMQ is still open: it is tried again."
                ) from None
            kept = channel.queue_declare(
                self._positions, durable=True, arguments={"x-max-length": 1}
            )
            self._declare_exchange(channel, is_new=not kept.method.message_count)
            channel.tx_select()
            channel.add_on_return_callback(self._note_returned)

    def _declare_exchange(self, channel: BlockingChannel, *, is_new: bool) -> None:
        """Declare the exchange the first time: one that is gone later took all bindings along."""
        try:
            channel.exchange_declare(self.topic, "topic", passive=not is_new, durable=True)
        except ChannelClosedByBroker as error:
            self._close()
            if error.reply_code != NOT_FOUND:
                raise
            raise UnavailableError(
                f"RabbitMQ's exchange {self.topic} was deleted, and with it every binding: declare "
                f"it and bind the queues again, or delete the queue {self._positions} to begin "
                "anew."
            ) from None

    def _close(self) -> None:
        if self._channel is not None:
            with suppress(*LOST):
                self._channel.connection.close()
        self._channel = None

    def _read_position(self) -> dict[str, Any]:
        with translated():
            method, _, body = self._leading().basic_get(self._positions)
            if method is None or body is None:
                return {}
            self._leading().basic_nack(method.delivery_tag)  # it stays there
            self._leading().tx_commit()
            return dict(json.loads(body))

    def _send(
        self, messages: Sequence[tuple[str | None, str]], position: dict[str, Any] | None
    ) -> None:
        channel = self._leading()
        with translated():
            try:
                for key, body in messages:
                    _publish(channel, self.topic, _routing(key), body)
                channel.tx_commit()
            except ChannelClosedByBroker as error:
                if error.reply_code != REFUSED:
                    raise
                self._channel = channel.connection.channel()  # the lead is the connection's
                self._channel.tx_select()
                self._channel.add_on_return_callback(self._note_returned)
                raise ValueRefusedError(error.reply_text) from None
            if position is not None:
                body = json.dumps({**position, "alive": time.time()})
                _publish(channel, "", self._positions, body)
                channel.tx_commit()
            self._count_returned(channel)

    def _note_returned(self, _channel: object, method: Any, *_: object) -> None:
        self._returned.append(method.exchange)

    def _count_returned(self, channel: BlockingChannel) -> None:
        """Count what no queue took. Raises UnavailableError if the position is such a message."""
        channel.connection.process_data_events(0)
        returned, self._returned = self._returned, []
        self.unannounced += returned.count(self.topic)
        if "" in returned:
            raise UnavailableError(
                f"RabbitMQ's queue {self._positions} was deleted: all rows are sent again."
            )

    def _leading(self) -> BlockingChannel:
        """Return the leader's channel. Raises FencedError if it was given up."""
        if self._channel is None:
            raise FencedError("the connection to RabbitMQ was closed")
        return self._channel


def _routing(key: str | None) -> str:
    """Return the routing key: of a long one, the beginning; the message has all of it."""
    return (key or "").encode()[:LONGEST_KEY].decode(errors="ignore")


def _publish(channel: BlockingChannel, exchange: str, key: str, body: str) -> None:
    """Send a message, which comes back if no queue takes it."""
    channel.basic_publish(exchange, key, body.encode(), _persistent(), mandatory=True)


def _persistent() -> pika.BasicProperties:
    return pika.BasicProperties(
        delivery_mode=pika.DeliveryMode.Persistent, content_type="application/json"
    )


@contextmanager
def _channel(url: str) -> Iterator[BlockingChannel]:
    channel = open_channel(url, heartbeat=HEARTBEAT)
    try:
        yield channel
    finally:
        with suppress(*LOST):
            channel.connection.close()
