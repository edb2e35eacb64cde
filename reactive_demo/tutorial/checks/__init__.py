"""Self-checks: whether a step of a notebook did what it should, asked of the live servers.

    from reactive_demo.tutorial.checks import ch04 as checks

A check waits for what may take a moment. It returns a sentence, or raises `CheckFailed`, which
names the hop that did not happen and what to look at. There is a module for each chapter;
`pipeline` holds what several of them check, and `verdict` how they answer.
"""

from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, patience, until

__all__ = ["CheckFailed", "Verdict", "patience", "until"]
