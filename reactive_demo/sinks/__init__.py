"""Sinks: what a listener feeds in place of a cache.

sink        what a listener needs of a cache, and so of a sink
broker      what the brokers' sinks share: messages, leases, the position
kafka       KafkaSink, each batch and its position in one transaction
rabbitmq    RabbitSink, each batch, and then its position
amqp        connections to RabbitMQ, and why there is none
"""

from reactive_demo.sinks.sink import Sink

__all__ = ["Sink"]
