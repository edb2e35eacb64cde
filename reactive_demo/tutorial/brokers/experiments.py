"""The experiments: the same few lines for each broker, and what happened, in a few words.

Each takes a broker, and a topic that nobody has used.
"""

from collections.abc import Callable

from reactive_demo.tutorial.brokers.broker import Broker, Reader
from reactive_demo.tutorial.brokers.doomed import Doomed
from reactive_demo.tutorial.brokers.lab import BrokerLab

__all__ = [
    "dies_half_way",
    "leaves_and_returns",
    "nobody_listens",
    "one_megabyte",
    "order",
    "restart",
    "rolled_back",
    "two_readers",
]

Experiment = Callable[[Broker, str], str]

MEGABYTE = 1_048_576

KEYS = "abcd"


def nobody_listens(broker: Broker, topic: str) -> str:
    """Publish before there has ever been a reader."""
    broker.publish(topic, "one")
    with broker.subscribe(topic) as reader:
        return "kept" if reader.read() else "lost"


def leaves_and_returns(broker: Broker, topic: str) -> str:
    """Publish while the reader is away."""
    with broker.subscribe(topic) as reader:
        broker.publish(topic, "one")
        reader.read()
        reader.acknowledge()
    broker.publish(topic, "two")
    with broker.subscribe(topic) as reader:
        return "kept" if reader.read() == "two" else "lost"


def dies_half_way(broker: Broker, topic: str) -> str:
    """Kill a reader, with kill -9, that has taken a message and is not done with it."""
    reader = Doomed(broker, topic)
    broker.publish(topic, "one")
    reader.take("one")
    reader.kill()
    with broker.subscribe(topic) as heir:
        return "comes again" if heir.read(2) == "one" else "lost"


def two_readers(broker: Broker, topic: str) -> str:
    """Let two readers of one name read six messages."""
    with broker.subscribe(topic, share=(0, 2)) as one, broker.subscribe(topic, share=(1, 2)) as two:
        for number in range(6):
            broker.publish(topic, str(number), key=str(number))
        heard = _take_turns(one, two)
    counts = [len(some) for some in heard]
    return {6: "they share", 12: "each gets all"}.get(sum(counts) * (0 not in counts), f"{counts}")


def rolled_back(lab: BrokerLab) -> Experiment:
    """Publish in a transaction that is rolled back."""

    def experiment(broker: Broker, topic: str) -> str:
        with broker.subscribe(topic) as reader, lab.writer() as connection:
            connection.execute("BEGIN")
            broker.publish(topic, "ada has moved", transaction=connection)
            connection.execute("ROLLBACK")
            return "a lie" if reader.read() else "silence"

    return experiment


def order(broker: Broker, topic: str) -> str:
    """Publish messages of four keys while the reader is away, or at least not looking."""
    broker.subscribe(topic).close()
    sent = _publish_with_keys(broker, topic)
    with broker.subscribe(topic) as reader:
        if not (heard := _read_all(reader)):  # it keeps nothing
            _publish_with_keys(broker, topic)
            heard = _read_all(reader)
    return "as sent" if heard == sent else _by_key(heard, sent)


def one_megabyte(broker: Broker, topic: str) -> str:
    """Publish a message of 1 MB, with everybody's defaults."""
    with broker.subscribe(topic) as reader:
        try:
            broker.publish(topic, "x" * MEGABYTE)
        except Exception as error:  # noqa: BLE001  (each client has errors of its own)
            return f"refused: {_reason(error)}"
        return "arrives" if len(reader.read(5) or "") == MEGABYTE else "lost"


def restart(lab: BrokerLab) -> Experiment:
    """Kill the broker itself, with kill -9, while a message waits for a reader that is away."""

    def experiment(broker: Broker, topic: str) -> str:
        broker.subscribe(topic).close()
        broker.publish(topic, "one")
        lab.kill(broker.name)
        with broker.subscribe(topic) as reader:
            return "kept" if reader.read() == "one" else "lost"

    return experiment


def _take_turns(*readers: Reader) -> list[list[str]]:
    """Return what each reader gets that takes its turn, until none gets any."""
    heard: list[list[str]] = [[] for _ in readers]
    while any(found := [_take(reader) for reader in readers]):
        for some, body in zip(heard, found, strict=True):
            some.extend([body] if body else [])
    return heard


def _take(reader: Reader) -> str | None:
    body = reader.read(0.5)
    reader.acknowledge()
    return body


def _read_all(reader: Reader) -> list[str]:
    return list(iter(lambda: _take(reader) or "", ""))


def _publish_with_keys(broker: Broker, topic: str) -> list[str]:
    sent = [f"{key}{number}" for number in range(5) for key in KEYS]
    for body in sent:
        broker.publish(topic, body, key=body[0])
    return sent


def _by_key(heard: list[str], sent: list[str]) -> str:
    """Return whether at least the messages of each key are in order."""
    kept = all(
        [b for b in heard if b[0] == key] == [b for b in sent if b[0] == key] for key in KEYS
    )
    return "within a key" if kept else "mixed up"


def _reason(error: Exception) -> str:
    """Return the reason in the words of the broker."""
    said = str(error)
    for words in ("payload string too long", "Message size too large"):
        if words in said:
            return words
    return type(error).__name__
