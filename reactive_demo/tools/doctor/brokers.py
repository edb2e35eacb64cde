"""What the doctor examines of the brokers, which only chapter 09 uses: how to get them."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from reactive_demo.errors import ConfigurationError, ReactiveDemoError
from reactive_demo.settings import Settings
from reactive_demo.tools.doctor.report import Line, State
from reactive_demo.urls import without_password

__all__ = ["examine"]


def examine(settings: Settings) -> Iterator[Line]:
    """Yield a line for each broker; start none, because that takes a while."""
    from reactive_demo.servers import brokers  # noqa: PLC0415  (imports what Windows lacks)

    if url := settings.rabbitmq_url:
        yield _own("RabbitMQ", "RABBITMQ_URL", url, _log_in)
    else:
        yield _startable("RabbitMQ", "pika", brokers.rabbitmq_program)
    if servers := settings.kafka_servers:
        yield _own("Kafka", "KAFKA_BOOTSTRAP_SERVERS", servers, brokers.probe_kafka)
    else:
        yield _startable("Kafka", "confluent_kafka", brokers.kafka_program)


def _own(subject: str, variable: str, url: str, probe: Callable[[str], None]) -> Line:
    """Examine a broker of your own."""
    here = without_password(url) if "://" in url else url
    try:
        probe(url)
    except ReactiveDemoError as error:
        return Line(subject, State.MEND, str(error), here)
    except OSError as error:
        words = f"does not answer ({error}): start it, or correct or unset {variable}."
        return Line(subject, State.MEND, words, here)
    return Line(subject, State.OK, "your own, answers", here)


def _log_in(url: str) -> None:
    """Connect to RabbitMQ: without its client, as far as one gets without a password."""
    from reactive_demo.servers.brokers import probe_rabbitmq  # noqa: PLC0415

    probe_rabbitmq(url)
    if find_spec("pika"):
        from reactive_demo.sinks.amqp import open_channel  # noqa: PLC0415  (needs an extra)

        open_channel(url, heartbeat=0).connection.close()


def _startable(subject: str, client: str, program: Callable[[], Path]) -> Line:
    """Tell whether chapter 09 can start a broker; nothing else needs one."""
    try:
        found = program()
    except ConfigurationError as error:
        return Line(subject, State.OK, f"only chapter 09 needs it, and skips it. {error}")
    if not find_spec(client):
        words = "only chapter 09 needs it, and its client: pip install 'reactive-demo[brokers]'"
        return Line(subject, State.OK, words, str(found))
    return Line(subject, State.OK, "starts when chapter 09 first uses it", str(found))
