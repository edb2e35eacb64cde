"""The brokers start on first use, live as long as somebody uses them, and leave nothing."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from reactive_demo.errors import ConfigurationError
from reactive_demo.servers import Stack, brokers
from reactive_demo.servers.brokers import probe_kafka, probe_rabbitmq
from reactive_demo.settings import Settings
from reactive_demo.tutorial.brokers.rabbitmq import RabbitMQ
from servers.homes import Home
from tools.brokers import kill, require_rabbitmq, server_of
from tools.waiting import until


def any_lives(processes: list[psutil.Process]) -> bool:
    """Whether one of them still runs; a supervisor that this process started stays a zombie."""
    return any(
        one.is_running() and one.status() != psutil.STATUS_ZOMBIE
        for one in processes
        if psutil.pid_exists(one.pid)
    )


@pytest.fixture
def alone(home: Home, stack: Stack) -> Iterator[Stack]:
    """A stack whose home has brokers only."""
    with home.connect(stack.database_url, stack.redis_url) as servers:
        yield servers


def family(home: Home, name: str) -> list[psutil.Process]:
    """Supervisor, server, and all that the server has started: epmd does not name the folder."""
    server = server_of(home.path, name)
    return [server.parent(), server, *server.children(recursive=True)]


@pytest.mark.long
def test_kafka_starts_on_first_use_and_ends_with_its_last_user(home: Home, alone: Stack) -> None:
    assert not (home.path / "kafka").exists()
    probe_kafka(alone.kafka_servers)
    with home.connect(alone.database_url, alone.redis_url) as other:
        assert other.kafka_servers == alone.kafka_servers
    processes = family(home, "kafka")
    alone.close()
    until("nothing is left", lambda: not any_lives(processes), timeout=20)
    assert home.is_quiet()


def test_brokers_of_your_own_are_used_and_nothing_is_started(tmp_path: Path) -> None:
    settings = Settings("", "", tmp_path / "home", "amqp://a:b@h/", "h:9092")
    stack = Stack("", "", {}, settings)
    assert (stack.rabbitmq_url, stack.kafka_servers) == ("amqp://a:b@h/", "h:9092")
    assert not (tmp_path / "home").exists()


def test_without_rabbitmq_one_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(brokers, "DEBIAN", tmp_path / "none")
    stack = Stack("", "", {}, Settings("", "", tmp_path / "home"))
    with pytest.raises(ConfigurationError, match=r"install it .*, or set RABBITMQ_URL"):
        _ = stack.rabbitmq_url


@pytest.mark.long
def test_rabbitmq_leaves_nothing_and_keeps_what_is_durable(home: Home, alone: Stack) -> None:
    require_rabbitmq()
    probe_rabbitmq(alone.rabbitmq_url)
    broker = RabbitMQ(alone.rabbitmq_url)
    broker.subscribe("kept").close()
    broker.publish("kept", "one")
    killed = family(home, "rabbitmq")[2:]
    kill(home.path, "rabbitmq")
    with broker.subscribe("kept") as reader:
        assert reader.read(5) == "one"
        reader.acknowledge()
    processes = family(home, "rabbitmq")
    assert "epmd" in {one.name() for one in processes}
    alone.close()
    gone = [*killed, *processes]
    until("nothing is left", lambda: not any_lives(gone), timeout=40)
    assert home.is_quiet()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a server of its parent's end")
def test_a_killed_supervisor_takes_rabbitmq_and_its_name_server_along(
    home: Home, alone: Stack
) -> None:
    require_rabbitmq()
    probe_rabbitmq(alone.rabbitmq_url)
    supervisor, *rest = family(home, "rabbitmq")
    supervisor.send_signal(signal.SIGKILL)
    until("nothing is left", lambda: not any_lives(rest), timeout=40)
