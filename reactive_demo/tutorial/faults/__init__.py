"""The fault lab: two pipelines that get the same writes, and what breaks one of them.

    with FaultLab() as lab:
        outcome = break_it(lab, "Kill the listener")
        print(outcome.did, outcome.article.lost, outcome.durable.lost)

`pipeline` is one of the two, `lab` both of them on `servers` of their own; `actions` does the harm,
`score` counts the damage, `runs` puts them together, and `board` shows it all in a notebook.
"""

from reactive_demo.tutorial.faults.actions import FAULTS, Fault
from reactive_demo.tutorial.faults.lab import FaultLab
from reactive_demo.tutorial.faults.runs import Outcome, break_it, run_all, table
from reactive_demo.tutorial.faults.score import Score

__all__ = ["FAULTS", "Fault", "FaultLab", "Outcome", "Score", "break_it", "run_all", "table"]
