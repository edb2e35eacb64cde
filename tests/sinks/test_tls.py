"""A broker behind TLS, or that asks for a login: what is right delivers, what is wrong says so."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from confluent_kafka import Consumer, TopicPartition

from reactive_demo import ChangeTableFeed, Listener, Profiles, Stack
from reactive_demo.errors import ConfigurationError
from reactive_demo.servers.brokers import kafka_program, probe_kafka
from reactive_demo.servers.ports import free_port
from reactive_demo.sinks.broker import BrokerSink
from reactive_demo.sinks.kafka import KafkaSink
from reactive_demo.sinks.rabbitmq import RabbitSink
from reactive_demo.tutorial.brokers import Reader
from reactive_demo.tutorial.brokers.rabbitmq import RabbitMQ
from sinks.service import Seen, agrees
from tools.brokers import messages, require_rabbitmq
from tools.tls import Certificate, make_certificate, tls_before
from tools.waiting import until

pytestmark = pytest.mark.long

PASSWORD = "s3cret"

SASL = {"sasl.mechanism": "SCRAM-SHA-256", "sasl.username": "ada", "sasl.password": PASSWORD}

Secured = tuple[Callable[[Path | None], BrokerSink], Reader]


@contextmanager
def tansu(advertised: int, *options: str) -> Iterator[int]:
    """Run a broker that speaks Kafka's protocol, and sends its clients to the port `advertised`."""
    port = free_port()
    words = [kafka_program(), "broker", "--storage-engine", "memory://tansu/"]
    words += ["--listener-url", f"tcp://127.0.0.1:{port}"]
    words += ["--advertised-listener-url", f"tcp://127.0.0.1:{advertised or port}", *options]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


class TrustingReader(Reader):
    """A reader of all of Kafka's topic, by TLS."""

    def __init__(self, servers: str, topic: str, certificate: Certificate) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "reader",
                "security.protocol": "SSL",
                "ssl.ca.location": str(certificate.file),
                "isolation.level": "read_committed",
                "topic.metadata.refresh.interval.ms": 500,
            }
        )
        self._consumer.assign([TopicPartition(topic, part, 0) for part in range(4)])

    def read(self, timeout: float = 1.0) -> str | None:
        message = self._consumer.poll(timeout)
        if message is None or message.error():
            return None
        return (message.value() or b"").decode()

    def close(self) -> None:
        self._consumer.close()


def answers(port: int) -> bool:
    try:
        probe_kafka(f"127.0.0.1:{port}")
    except OSError:
        return False
    return True


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "right")


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """The certificate of a CA that has signed nothing here."""
    return make_certificate(tmp_path, "wrong").file


@pytest.fixture
def kafka(certificate: Certificate, topic: str) -> Iterator[Secured]:
    def sink(ca: Path | None) -> KafkaSink:
        trusted = {"ssl.ca.location": str(ca)} if ca else {}
        config = {"security.protocol": "SSL", **trusted}
        return KafkaSink(f"127.0.0.1:{secured}", topic=topic, config=config)

    secured = free_port()
    with tansu(secured) as port, tls_before(port, certificate, at=secured):
        until("the broker answers", lambda: answers(port))
        reader = TrustingReader(f"127.0.0.1:{secured}", topic, certificate)
        yield sink, reader
        reader.close()


@pytest.fixture
def rabbitmq(stack: Stack, certificate: Certificate, topic: str) -> Iterator[Secured]:
    require_rabbitmq()

    def sink(ca: Path | None) -> RabbitSink:
        options = f"?ssl_options={quote(repr({'cafile': str(ca)}))}" if ca else ""
        return RabbitSink(f"{url}{options}", topic=topic)

    port = int(re.search(r":(\d+)/", stack.rabbitmq_url)[1])  # type: ignore[index]
    with tls_before(port, certificate) as secured:
        url = stack.rabbitmq_url.replace("amqp:", "amqps:").replace(f":{port}/", f":{secured}/")
        reader = RabbitMQ(stack.rabbitmq_url).subscribe(topic)
        yield sink, reader
        reader.close()


@pytest.fixture
def secured(kind: str, request: pytest.FixtureRequest) -> Secured:
    found: Secured = request.getfixturevalue(kind)
    return found


def test_a_broker_behind_tls_gets_all_from_whoever_trusts_it(  # noqa: PLR0917
    kind: str,
    secured: Secured,
    certificate: Certificate,
    wrong: Path,
    database: str,
    profiles: Profiles,
    start: Any,
) -> None:
    """A listener with the wrong CA says so, and loses nothing; nor does one with the system's."""
    make_sink, reader = secured
    words = {
        "kafka": r"TLS with Kafka fails \(.*certificate verify failed.*\): correct the certificate",
        "rabbitmq": r"RabbitMQ's certificate is not trusted \(.*\): correct it there, or name its",
    }
    for ca in (wrong, None):
        with Listener(ChangeTableFeed(database), make_sink(ca)) as listener:
            profiles.increment("ada", "likes")
            told = partial(lambda one: re.search(words[kind], one.status_text), listener)
            until("it says so", told, timeout=20)
    start(database, make_sink(certificate.file))
    profiles.increment("bob", "likes")
    seen = Seen()
    until("all is read", lambda: agrees(database, seen.take(messages(reader, 0.2))), timeout=20)


def test_a_login_that_kafka_refuses_is_told_without_its_password(
    database: str, start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """No right login is tried: the embedded broker can be told of no user."""
    caplog.set_level("DEBUG")
    with tansu(0, "--authentication") as port:
        config = {"security.protocol": "SASL_PLAINTEXT", **SASL}
        sink = KafkaSink(f"127.0.0.1:{port}", config=config)
        listener = start(database, sink, state="connecting")
        words = "Kafka refuses the login ("
        until("it says so", lambda: words in listener.status_text, timeout=20)
        assert "correct the user, the password or the mechanism." in listener.status_text
        assert PASSWORD not in listener.status_text + caplog.text + repr(sink) + sink.name


@pytest.mark.parametrize(
    "config",
    [
        {"security.protocol": "TLS"},
        {"security.protokol": "SSL"},
        {"security.protocol": "SSL", "ssl.ca.location": "/nowhere/ca.pem"},
        {"security.protocol": "SASL_SSL", **SASL, "sasl.mechanism": "MD5"},
    ],
)
def test_what_kafkas_client_cannot_read_is_refused_at_once(config: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="refuses its configuration") as raised:
        KafkaSink("127.0.0.1:1", config=config)
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize(
    "options", ["{'cafile': '/nowhere/ca.pem'}", "{'cafile': ''}", "{", "'ca.pem'"]
)
def test_what_rabbitmqs_client_cannot_read_is_refused_at_once(options: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^The broker's URL .*: correct"):
        RabbitSink(f"amqps://ada:{PASSWORD}@localhost/?ssl_options={quote(options)}")


def test_a_url_with_tls_means_its_port() -> None:
    assert RabbitSink("amqps://localhost/").name == "localhost:5671//reactive_demo.profile"
    assert RabbitSink("amqp://localhost/").name == "localhost:5672//reactive_demo.profile"
