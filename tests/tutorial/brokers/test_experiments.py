"""What the table of chapter 09 says is what happens, reader and broker killed half-way included."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reactive_demo import Stack
from reactive_demo.app.profiles import Profiles
from reactive_demo.tutorial.brokers import Broker, experiments
from reactive_demo.tutorial.brokers.lab import BROKERS, BrokerLab
from reactive_demo.tutorial.brokers.results import LAST, Results, last_run
from reactive_demo.tutorial.chapter_setup import install_bare
from reactive_demo.tutorial.strategies import Consumer, WriteBehind
from tools.brokers import KINDS, kill, require_rabbitmq
from tools.waiting import until

ROOT = Path(__file__).resolve().parents[3]

EXPERIMENTS: dict[str, Callable[[BrokerLab], experiments.Experiment]] = {
    "nobody listens": lambda _: experiments.nobody_listens,
    "the reader leaves and returns": lambda _: experiments.leaves_and_returns,
    "the reader dies half-way": lambda _: experiments.dies_half_way,
    "two readers of one name": lambda _: experiments.two_readers,
    "a rollback after publishing": experiments.rolled_back,
    "order": lambda _: experiments.order,
    "a message of 1 MB": lambda _: experiments.one_megabyte,
    "the broker restarts": experiments.restart,
}


@pytest.fixture(scope="module")
def lab() -> Iterator[BrokerLab]:
    require_rabbitmq()
    with BrokerLab() as started:
        yield started


@pytest.mark.long
@pytest.mark.parametrize("name", BROKERS)
@pytest.mark.parametrize("question", EXPERIMENTS)
def test_a_broker_does_what_the_last_run_saw(question: str, name: str, lab: BrokerLab) -> None:
    experiment = EXPERIMENTS[question](lab)
    assert experiment(lab.brokers[name], lab.new_topic()) == last_run()[question][name]


def test_the_last_run_is_that_of_the_notebook() -> None:
    notebook = json.loads((ROOT / "notebooks" / "09_five_brokers.ipynb").read_text())
    shown = [
        "".join(output["data"]["text/plain"])
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "text/plain" in output.get("data", {})
    ]
    results = Results(BrokerLab())
    results.rows = last_run()
    assert list(results.rows) == list(EXPERIMENTS)
    assert repr(results) in shown


def test_a_broker_that_is_missing_shows_the_last_run() -> None:
    results = Results(BrokerLab())  # not started: all five are missing
    answer = results.run("nobody listens", experiments.nobody_listens)
    assert answer.outcomes["Kafka"] == f"kept{LAST}"
    assert results.tried("nobody listens") == {}


@pytest.fixture
def bare(database_url: str) -> str:
    install_bare(database_url)
    return database_url


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_write_behind_goes_by_any_broker(
    kind: str, bare: str, valkey_url: str, stack: Stack
) -> None:
    """RabbitMQ keeps what it has confirmed, and the consumer survives that it is killed."""
    if kind == "rabbitmq":
        require_rabbitmq()
    make, address = KINDS[kind]
    broker: Broker = make(getattr(stack, address))
    with (
        WriteBehind(bare, valkey_url, broker=broker) as strategy,
        Profiles(bare) as profiles,
        Consumer(bare, valkey_url, broker=broker),
    ):

        def stored() -> int:
            return (profiles.get("ada") or {}).get("likes_count", 0)

        for _ in range(50):
            strategy.write("ada", "likes")
        until("all is stored", lambda: stored() == 50, timeout=20)
        if kind == "rabbitmq":
            kill(Path(os.environ["REACTIVE_DEMO_HOME"]), kind)
            broker.close()
        strategy.write("ada", "likes")
        until("and what comes after", lambda: stored() == 51, timeout=20)
        assert strategy.read("ada")["likes_count"] == 51
    broker.close()
