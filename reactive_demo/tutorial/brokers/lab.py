"""The lab: servers of its own, whose brokers may be killed, and the five brokers on them."""

import itertools
import os
import signal
from importlib import import_module
from typing import Any, Self

import psutil
import psycopg

from reactive_demo.errors import ConfigurationError, ReactiveDemoError
from reactive_demo.extras import naming_the_extra
from reactive_demo.servers import Stack
from reactive_demo.servers.server_dir import ServerDir
from reactive_demo.tutorial.brokers.broker import Broker
from reactive_demo.tutorial.faults.servers import Servers
from reactive_demo.tutorial.reruns import close_previous
from reactive_demo.waiting import wait_until

__all__ = ["BROKERS", "BrokerLab", "NotTriedError"]

BROKERS = {
    "NOTIFY": ("notify:Notify", "postgres", "database_url"),
    "Redis Pub/Sub": ("pubsub:PubSub", "valkey", "redis_url"),
    "Redis Streams": ("streams:Streams", "valkey", "redis_url"),
    "RabbitMQ": ("rabbitmq:RabbitMQ", "rabbitmq", "rabbitmq_url"),
    "Kafka": ("kafka:Kafka", "kafka", "kafka_servers"),
}
"""Each broker by name: its class, its server, and where the stack has its address."""

RESTART_TIMEOUT = 60.0
"""Seconds in which a killed server must answer again."""


class NotTriedError(ReactiveDemoError):
    """What would harm a server of somebody else's."""


class BrokerLab:
    """Five brokers. One that cannot be had is missing, and `missing` says how to get it."""

    def __init__(self) -> None:
        self.brokers: dict[str, Broker] = {}
        """Those that can be had, by name."""
        self.missing: dict[str, str] = {}
        """How to get the others, by name."""
        self._topics = itertools.count(1)
        self._servers: Servers | None = None

    def start(self) -> Self:
        """Start the servers and connect; return the lab itself, for a notebook's one line."""
        close_previous("broker lab", self)
        self.close()  # a cell may be run again
        self._servers = Servers.own()
        for name in BROKERS:
            try:
                self.brokers[name] = self.connect(name)
                self.brokers[name].check()
            except ReactiveDemoError as error:
                self.brokers.pop(name, None)
                self.missing[name] = str(error)
        return self

    @property
    def stack(self) -> Stack:
        """The servers."""
        if self._servers is None:
            raise ReactiveDemoError("The lab is not started: call its `start()`.")
        return self._servers.stack

    def connect(self, name: str) -> Broker:
        """Return a new connection to a broker. Raises ConfigurationError if it cannot be had."""
        kind, _, address = BROKERS[name]
        module, _, class_name = kind.partition(":")
        with naming_the_extra(f"{name} needs"):
            found = import_module(f"reactive_demo.tutorial.brokers.{module}")
        broker: Broker = getattr(found, class_name)(getattr(self.stack, address))
        return broker

    def broker(self, name: str) -> Broker:
        """Return a broker. Raises ConfigurationError, which says how to get a missing one."""
        if name in self.missing:
            raise ConfigurationError(self.missing[name])
        return self.brokers[name]

    def either(self, wanted: str, other: str) -> str:
        """Return the name of the first of two that can be had; ConfigurationError if neither."""
        if wanted in self.missing and other in self.brokers:
            return other
        self.broker(wanted)
        return wanted

    def new_topic(self) -> str:
        """Return the name of a topic that nobody has used."""
        return f"chapter_09_{os.getpid()}_{next(self._topics)}"

    def may_kill(self, name: str) -> bool:
        """Whether the broker's server is the lab's own."""
        return BROKERS[name][1] in self.stack.embedded

    def kill(self, name: str) -> None:
        """Kill the broker's server with kill -9, and wait until it answers again."""
        if self._servers is None or not self.may_kill(name):
            raise NotTriedError(f"{name} is not the lab's own: it is left alone.")
        server = ServerDir(self._servers.home / BROKERS[name][1])
        facts = server.read("server")
        process = psutil.Process(int(facts["pid"]))
        process.send_signal(signal.SIGKILL)
        wait_until(f"{name} is gone", lambda: server.read("server") != facts, RESTART_TIMEOUT)
        wait_until(f"{name} is back", lambda: server.read("state").get("url"), RESTART_TIMEOUT)
        self.brokers[name].close()

    def writer(self) -> "psycopg.Connection[Any]":
        """Return a plain connection to the database, as an application has one."""
        return psycopg.connect(self.stack.database_url, autocommit=True)

    def close(self) -> None:
        """Close the connections; the servers stop a few seconds later. Safe to call twice."""
        for broker in self.brokers.values():
            broker.close()
        self.brokers.clear()
        if self._servers is not None:
            self._servers.close()
            self._servers = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        lines = [f"{name}: {broker.promise}" for name, broker in self.brokers.items()]
        lines += [f"{name}: missing. {how}" for name, how in self.missing.items()]
        return "\n".join(lines)
