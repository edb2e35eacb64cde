"""What the doctor says of the brokers, which only chapter 09 needs."""

from pathlib import Path

import pytest

from doctor.conftest import Find
from reactive_demo import Stack
from reactive_demo.servers import brokers as servers
from reactive_demo.settings import Settings
from reactive_demo.tools.doctor import State, brokers
from tools.brokers import require_rabbitmq


def examine(home: Path, rabbitmq_url: str | None = None, kafka: str | None = None) -> list:
    return list(brokers.examine(Settings(None, None, home, rabbitmq_url, kafka)))


def test_those_that_can_be_started_are_not_started(tmp_path: Path, find: Find) -> None:
    line = find("Kafka", examine(tmp_path / "home"))
    assert (line.state, line.words) == (State.OK, "starts when chapter 09 first uses it")
    assert not (tmp_path / "home").exists()


def test_a_missing_one_is_no_fault(
    tmp_path: Path, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers, "DEBIAN", tmp_path / "none")
    line = find("RabbitMQ", examine(tmp_path))
    assert line.state is State.OK
    assert "install it" in line.words


def test_your_own_must_answer(tmp_path: Path, find: Find, refused_port: int) -> None:
    nowhere = f"127.0.0.1:{refused_port}"
    lines = examine(tmp_path, f"amqp://ada:s3cret@{nowhere}/", nowhere)
    for subject, variable in (("RabbitMQ", "RABBITMQ_URL"), ("Kafka", "KAFKA_BOOTSTRAP_SERVERS")):
        line = find(subject, lines)
        assert line.state is State.MEND
        assert variable in line.words
        assert "s3cret" not in line.words + line.here


@pytest.mark.long
def test_your_own_must_let_you_in(tmp_path: Path, find: Find, stack: Stack) -> None:
    require_rabbitmq()
    url = stack.rabbitmq_url
    line = find("RabbitMQ", examine(tmp_path, url))
    assert (line.state, line.words) == (State.OK, "your own, answers")
    user, _, place = url.rpartition("@")
    line = find("RabbitMQ", examine(tmp_path, f"{user}wrong@{place}"))
    assert line.state is State.MEND
    assert line.words.startswith("RabbitMQ refuses the user or the password")
