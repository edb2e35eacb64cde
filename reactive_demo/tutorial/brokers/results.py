"""What happened, in a table that fills itself; where a broker is missing, what the last run saw."""

import json
from concurrent.futures import ThreadPoolExecutor
from html import escape
from importlib.resources import files
from typing import Any

from reactive_demo.tutorial.brokers.experiments import Experiment
from reactive_demo.tutorial.brokers.lab import BROKERS, BrokerLab, NotTriedError

__all__ = ["Results", "last_run"]

LAST = " (last run)"

CELL = 'align="left" valign="top" style="text-align: left; vertical-align: top"'
"""Words, which JupyterLab would align as numbers; GitHub reads the attributes only."""

UNBROKEN = "&#8209;"
"""A hyphen at which no line ends."""


def last_run() -> dict[str, dict[str, str]]:
    """Return what the committed run of the notebook saw, by question and broker."""
    seen: dict[str, dict[str, str]] = json.loads(
        (files(__package__) / "last_run.json").read_text(encoding="utf-8")
    )
    return seen


class Answer:
    """What all brokers did in one experiment."""

    def __init__(self, outcomes: dict[str, str]) -> None:
        self.outcomes = outcomes

    def __repr__(self) -> str:
        return "\n".join(f"{name:<14} {outcome}" for name, outcome in self.outcomes.items())


class Results:
    """The table: a row for each question, a column for each broker."""

    def __init__(self, lab: BrokerLab) -> None:
        self.lab = lab
        self.rows: dict[str, dict[str, str]] = {}
        """What happened, by question and broker."""

    def run(self, question: str, experiment: Experiment) -> Answer:
        """Do the experiment with each broker, with several at a time, and fill a row."""
        by_server: dict[str, list[str]] = {}
        for name, (_, server, _) in BROKERS.items():
            by_server.setdefault(server, []).append(name)

        def ask(names: list[str]) -> dict[str, str]:
            return {name: self._outcome(question, experiment, name) for name in names}

        with ThreadPoolExecutor() as threads:
            answers = threads.map(ask, by_server.values())
            found = {name: outcome for some in answers for name, outcome in some.items()}
        self.rows[question] = {name: found[name] for name in BROKERS}
        return Answer(self.rows[question])

    def tried(self, question: str) -> dict[str, str]:
        """Return what happened here, without what the last run saw."""
        outcomes = self.rows.get(question, {})
        return {name: one for name, one in outcomes.items() if not one.endswith(LAST)}

    def __repr__(self) -> str:
        return "\n\n".join(f"{question}\n{Answer(row)}" for question, row in self.rows.items())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        head = "".join(f"<th {CELL}>{escape(name)}</th>" for name in ("", *BROKERS))
        body = "".join(
            f"<tr><th {CELL}>{escape(question).replace('-', UNBROKEN)}</th>"
            + "".join(f"<td {CELL}>{escape(row[name])}</td>" for name in BROKERS)
            + "</tr>"
            for question, row in self.rows.items()
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return {"text/html": table, "text/plain": repr(self)}

    def _outcome(self, question: str, experiment: Experiment, name: str) -> str:
        if (broker := self.lab.brokers.get(name)) is not None:
            try:
                return experiment(broker, self.lab.new_topic())
            except NotTriedError:
                pass
        return last_run().get(question, {}).get(name, "not tried") + LAST
