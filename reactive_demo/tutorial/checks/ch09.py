"""Checks of chapter 09: what the brokers did, and what the outbox delivers."""

from collections.abc import Collection

from psycopg import sql

from reactive_demo.tutorial.brokers.lab import BrokerLab
from reactive_demo.tutorial.brokers.results import Results
from reactive_demo.tutorial.checks.pipeline import ask
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until

__all__ = ["delivered", "delivered_late", "only_the_database_is_honest", "until", "was_asked"]

ROLLED_BACK = "a rollback after publishing"


def was_asked(results: Results, question: str) -> Verdict:
    """Check that each broker of the lab has answered, or why it could not."""
    if question not in results.rows:
        raise CheckFailed(f"Nobody was asked: {question}. Run the cell above.")
    if missing := results.lab.missing:
        name, how = next(iter(missing.items()))
        return Verdict(f"the others have answered: {question}. {name}: {how}")
    return Verdict(f"all five have answered: {question}")


def only_the_database_is_honest(results: Results) -> Verdict:
    """Check that every broker but PostgreSQL delivered what was rolled back."""
    if not (tried := results.tried(ROLLED_BACK)):
        raise CheckFailed("Nobody was asked: run the cell with the rollback.")
    for name, outcome in tried.items():
        if outcome != (wanted := "silence" if name == "NOTIFY" else "a lie"):
            raise CheckFailed(
                f"{name} answers {outcome!r}, and {wanted!r} was to be expected: does the "
                "experiment publish inside the transaction, and roll that back?"
            )
    return Verdict("only the message that is part of the transaction goes with it")


def delivered(lab: BrokerLab, table: str, texts: Collection[str], at_least: int = 1) -> Verdict:
    """Check that `texts` are those of all committed rows, and of no others; one may come twice.

    `at_least` is how many rows there are by now.
    """
    query = sql.SQL("SELECT body FROM {} ORDER BY id").format(sql.Identifier("public", table))
    committed = [body for (body,) in ask(lab.stack.database_url, query)]
    if len(committed) < at_least:
        raise CheckFailed(
            f"{len(committed)} orders are committed, and this step makes it {at_least}: run its "
            "cells, in order."
        )
    if missed := [body for body in committed if body not in texts]:
        raise CheckFailed(
            f"{missed[0]!r} is committed, and was not read: does the listener run, and did the "
            "reader subscribe before it, or under a name of its own?"
        )
    if lies := [body for body in texts if body not in committed]:
        raise CheckFailed(f"{lies[0]!r} was read, and no such row is committed.")
    return Verdict(f"all {len(committed)} committed messages were read, and no others")


def delivered_late(lab: BrokerLab, table: str, texts: Collection[str]) -> Verdict:
    """Check what a service has that came last, which takes a log: without Kafka, tell of one."""
    if how := lab.missing.get("Kafka"):
        return Verdict(f"with Kafka, the newcomer read all of them in the last run. Kafka: {how}")
    return delivered(lab, table, texts)
