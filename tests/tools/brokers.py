"""The brokers of a stack, as the tests use and harm them."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from reactive_demo.servers.brokers import DEBIAN
from reactive_demo.servers.server_dir import ServerDir
from reactive_demo.tutorial.brokers import Broker, Reader
from reactive_demo.tutorial.brokers.kafka import Kafka
from reactive_demo.tutorial.brokers.rabbitmq import RabbitMQ
from tools.required import required
from tools.waiting import until

__all__ = [
    "KINDS",
    "frozen",
    "kill",
    "messages",
    "out_of_disk",
    "require_rabbitmq",
    "server_of",
]

KINDS: dict[str, tuple[type[Broker], str]] = {
    "rabbitmq": (RabbitMQ, "rabbitmq_url"),
    "kafka": (Kafka, "kafka_servers"),
}


def require_rabbitmq() -> None:
    """Skip the test where there is no RabbitMQ, or fail it where CI asks for one."""
    if not DEBIAN.exists():
        required("rabbitmq-server")


def server_of(home: Path, name: str) -> psutil.Process:
    """The process of a server in that home."""
    return psutil.Process(ServerDir(home / name).read("server")["pid"])


def kill(home: Path, name: str) -> None:
    """Kill a server with kill -9, and wait until its supervisor has started it again."""
    killed = server_of(home, name)
    killed.send_signal(signal.SIGKILL)
    place = ServerDir(home / name)
    until("it is a new one", lambda: place.read("server").get("pid") != killed.pid, timeout=30)
    until("it is ready", lambda: place.read("state").get("url"), timeout=60)


@contextmanager
def frozen(home: Path, name: str) -> Iterator[None]:
    """Stop a server as a debugger does: its connections stay, and nothing is answered."""
    server = server_of(home, name)
    server.suspend()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def out_of_disk(home: Path) -> Iterator[None]:
    """Have RabbitMQ raise the alarm that it raises when its disk is nearly full."""
    _limit_disk(home, 10**15)
    try:
        yield
    finally:
        _limit_disk(home, 1_000_000)


def _limit_disk(home: Path, free_bytes: int) -> None:
    server = server_of(home, "rabbitmq")
    program = DEBIAN.with_name("rabbitmqctl")
    words = [program, "set_disk_free_limit", str(free_bytes)]
    subprocess.run(words, env=server.environ(), check=True, capture_output=True)


def messages(reader: Reader, timeout: float = 1.0) -> Iterator[dict[str, Any]]:
    """What a sink sent, without the markers, until nothing comes for `timeout` seconds."""
    while (body := reader.read(timeout)) is not None:
        reader.acknowledge()
        if (message := json.loads(body))["key"] is not None:
            yield message
