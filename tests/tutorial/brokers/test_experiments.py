"""What the table of chapter 09 says is what happens, reader and broker killed half-way included."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reactive_demo.tutorial.brokers import experiments
from reactive_demo.tutorial.brokers.lab import BROKERS, BrokerLab
from reactive_demo.tutorial.brokers.results import LAST, Results, last_run
from tools.brokers import require_rabbitmq

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
