"""The checks of the chapter on brokers: each fails in words, and passes when its step was done."""

import re

import psycopg
import pytest

from reactive_demo import Stack
from reactive_demo.tutorial.brokers.lab import BROKERS, BrokerLab
from reactive_demo.tutorial.brokers.results import LAST, Results
from reactive_demo.tutorial.checks import CheckFailed
from reactive_demo.tutorial.checks import ch09 as checks


class Served(BrokerLab):
    """A lab without brokers, on a test's database."""

    def __init__(self, database_url: str) -> None:
        super().__init__()
        self._stack = Stack(database_url, "", {})

    @property
    def stack(self) -> Stack:
        return self._stack


@pytest.fixture
def results() -> Results:
    return Results(BrokerLab())


def test_a_question_must_have_been_asked(results: Results) -> None:
    with pytest.raises(CheckFailed, match="Nobody was asked: order"):
        checks.was_asked(results, "order")
    results.rows["order"] = dict.fromkeys(BROKERS, "as sent")
    assert "all five" in repr(checks.was_asked(results, "order"))
    results.lab.missing["RabbitMQ"] = "Install it."
    assert repr(checks.was_asked(results, "order")).endswith("RabbitMQ: Install it.")


def test_only_the_database_may_be_silent(results: Results) -> None:
    with pytest.raises(CheckFailed, match="run the cell with the rollback"):
        checks.only_the_database_is_honest(results)
    row = dict.fromkeys(BROKERS, "a lie") | {"Kafka": f"a lie{LAST}"}
    results.rows[checks.ROLLED_BACK] = row
    with pytest.raises(CheckFailed, match="NOTIFY answers 'a lie'"):
        checks.only_the_database_is_honest(results)
    row["NOTIFY"] = "silence"
    assert checks.only_the_database_is_honest(results)


def test_what_was_read_is_what_is_committed(empty_database: str) -> None:
    lab = Served(empty_database)
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE box (id bigserial PRIMARY KEY, body text)")
        connection.execute("INSERT INTO box (body) VALUES ('one'), ('two')")
    for texts, at_least, words in (
        (["one"], 1, "'two' is committed, and was not read"),
        (["one", "two", "three"], 1, "'three' was read, and no such row"),
        (["one", "two"], 3, "2 orders are committed, and this step makes it 3"),
    ):
        with pytest.raises(CheckFailed, match=re.escape(words)):
            checks.delivered(lab, "box", texts, at_least)
    assert checks.delivered(lab, "box", ["one", "two", "two"], at_least=2)


def test_without_kafka_the_newcomer_is_told_of_the_last_run(results: Results) -> None:
    results.lab.missing["Kafka"] = "Install it."
    assert repr(checks.delivered_late(results.lab, "box", [])).endswith("Kafka: Install it.")
