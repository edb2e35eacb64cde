"""Each check proves its step: before the step it fails, in words, and after it passes."""

import ast
import builtins
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from tools.course import each_notebook
from tools.execute_notebooks import SKIPPED

TAKE_LONG = {
    "04_reactive_cache": [pytest.mark.long],
    "02_cache_strategies": [pytest.mark.long],
    "05_profile_app": [pytest.mark.long],
    "06_break_it": [pytest.mark.long],
    "07_how_it_heals": [pytest.mark.long],
    "08_read_the_log": [pytest.mark.long],
    "09_five_brokers": [pytest.mark.long, pytest.mark.nightly],
    "10_beyond_one_machine": [pytest.mark.long],
    "11_your_own_table": [pytest.mark.long],
    "12_how_far": [pytest.mark.long, pytest.mark.nightly],
}

ATTEMPT = """
from reactive_demo.tutorial.checks import CheckFailed as _CheckFailed, patience as _patience

try:
    with _patience(0.3):
        exec({source!r}, globals())
except _CheckFailed:
    print("failed")
except Exception as _error:
    print(f"{{type(_error).__name__}}: {{_error}}")
else:
    print("passed")
"""

StartKernel = Callable[[], Any]


@pytest.mark.parametrize("path", each_notebook(**TAKE_LONG))
@pytest.mark.usefixtures("blank")
def test_each_check_fails_before_its_step_and_passes_after_it(
    path: Path, start_kernel: StartKernel
) -> None:
    found = walk(nbformat.read(path, as_version=4), start_kernel())
    assert not found, "\n".join([path.name, *found])


def walk(notebook: NotebookNode, kernel: Any) -> list[str]:
    """Run each check before and after its step; return the checks that prove nothing."""
    found = []
    for step, check in steps(notebook):
        tried = try_before(step, check, kernel)
        if check:
            kernel.run(check)
            if "failed" not in tried:
                found.append(f"{check.id} {complaint(tried)}")
    return found


def steps(notebook: NotebookNode) -> Iterator[tuple[list[NotebookNode], NotebookNode | None]]:
    """Yield the code cells up to each check, and that check; the last ones have none.

    The step that an exercise's check is about is the solution, which is below it.
    """
    step: list[NotebookNode] = []
    open_check = None
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if SKIPPED in tags:
            open_check = new_code_cell(cell.source, id=cell.id)
        elif "check" in tags:
            yield step, cell
            step = []
        elif cell.cell_type == "code":
            step.append(cell)
            if "solution" in tags:
                yield step, open_check
                step = []
    yield step, None


def try_before(step: list[NotebookNode], check: NotebookNode | None, kernel: Any) -> list[str]:
    """Run a step; return what the check says before each of its cells, until it fails."""
    tried: list[str] = []
    for cell in step:
        if check and "failed" not in tried:
            tried += attempt(check.source, kernel)
        kernel.run(cell)
    if check and "failed" not in tried and (verdict := last_of_several(check.source)):
        tried += attempt(verdict, kernel)
    return tried


def attempt(source: str, kernel: Any) -> list[str]:
    """Ask a check, if all names that it uses exist; return its answer."""
    return [kernel.ask(ATTEMPT.format(source=source)).strip()] if knows(kernel, source) else []


def last_of_several(source: str) -> str | None:
    """Return the last statement, if those above it belong to the step."""
    *above, last = ast.parse(source).body
    return ast.unparse(last) if above else None


def names(source: str) -> set[str]:
    """Return the global names that must exist before `source` can run."""
    nodes = list(ast.walk(ast.parse(source)))
    used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    made = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    arguments = {n.arg for n in nodes if isinstance(n, ast.arg)}
    return used - made - arguments - set(dir(builtins))


def knows(kernel: Any, source: str) -> bool:
    """Return whether the kernel has all names that `source` uses."""
    return bool(kernel.ask(f"print({names(source)!r} <= globals().keys())") == "True\n")


def complaint(tried: list[str]) -> str:
    """Say why a check was not seen failing, and how to fix that."""
    if not tried:
        return (
            "cannot be asked before its step: define the names that it uses earlier, so that a "
            "reader who runs it too early gets a verdict and no NameError"
        )
    if set(tried) == {"passed"}:
        return "passes before its step: let it ask for what only the step brings about"
    return f"says no verdict before its step, but {tried}: let it raise CheckFailed"


# The walk itself


def written(*cells: str) -> NotebookNode:
    """Make a notebook of these code cells, and tag those that check."""
    return new_notebook(
        cells=[
            new_code_cell(
                source,
                id=f"cell-{number}",
                metadata={"tags": ["check"] * ("checks.until" in source)},
            )
            for number, source in enumerate(cells)
        ]
    )


@pytest.fixture
def walked(start_kernel: StartKernel) -> Callable[..., list[str]]:
    """Walk through cells in a new kernel."""
    return lambda *cells: walk(
        written("from reactive_demo.tutorial import checks", *cells), start_kernel()
    )


def test_the_walk_accepts_a_check_that_proves_its_step(walked: Callable[..., list[str]]) -> None:
    assert not walked(
        "done = []",
        "done.append(1)",
        'checks.until("1 is done", lambda: 1 in done)',
        "done.append(2)",
        'checks.until("2 is done", lambda: [one for one in done if one == 2])',
        'done.append(3)\nchecks.until("3 is done", lambda: 3 in done)',
        "checks",
    )


def test_the_walk_names_each_check_that_proves_nothing(walked: Callable[..., list[str]]) -> None:
    trivial, unasked, wordless = walked(
        "done = [1]",
        "done.append(2)",
        'checks.until("1 is done", lambda: 1 in done)',
        "more = [3]",
        'checks.until("3 is there", lambda: 3 in more)',
        "done.clear()",
        'checks.until("it is empty", lambda: 1 / (not done))',
    )
    assert trivial.startswith("cell-3 passes before its step")
    assert unasked.startswith("cell-5 cannot be asked before its step")
    assert wordless.startswith("cell-7 says no verdict before its step, but ['ZeroDivisionError")


def test_a_check_that_fails_after_its_step_ends_the_walk(walked: Callable[..., list[str]]) -> None:
    with pytest.raises(CellExecutionError, match="in vain: it is done"):
        walked("done = False", 'checks.until("it is done", lambda: done, timeout=0.1)')
