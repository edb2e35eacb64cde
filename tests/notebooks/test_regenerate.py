"""The committed notebooks are what `make notebooks` writes, and can be run in any order, twice."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from reactive_demo import Cache, ChangeTableFeed, Listener, Options, Stack
from tools.course import NOTEBOOKS, ROOT, copy_course, each_notebook
from tools.execute_notebooks import KERNEL, SKIPPED, STILL, VARIES, VIEW, clean, show_last

StartKernel = Callable[[], Any]

AGAIN = each_notebook(
    **{path.stem: [pytest.mark.nightly] for path in NOTEBOOKS if path.stem != "07_how_it_heals"}
)
"""All chapters; the one that changes its feed and empties Redis is not left to the night."""


@pytest.mark.long
@pytest.mark.nightly
def test_the_outputs_are_the_same_each_time(tmp_path: Path) -> None:
    first, second = (regenerated(tmp_path / name) for name in ("first", "second"))
    committed = {path.name: path.read_text() for path in NOTEBOOKS}
    for name, text in committed.items():
        assert without_varying(first[name]) == without_varying(second[name]), name
        assert without_varying(text) == without_varying(first[name]), f"{name}: make notebooks"


@pytest.mark.parametrize("path", each_notebook())
def test_a_notebook_is_written_as_make_notebooks_writes_it(path: Path) -> None:
    text = path.read_text()
    notebook = nbformat.reads(text, as_version=4)
    clean(notebook)
    assert nbformat.writes(notebook) + "\n" == text


def test_what_needs_a_kernel_or_differs_is_not_kept() -> None:
    error = new_output("error", ename="E", evalue="words", traceback=["File /x/y.py", "E: words"])
    value = new_output("display_data", {VIEW: {"model_id": "1f"}, "text/plain": "a card"})
    notebook = new_notebook(
        cells=[
            new_code_cell("x", metadata={"execution": {"x": "now"}}, outputs=[error, value]),
            new_code_cell("y", metadata={"tags": [SKIPPED]}, outputs=[error], execution_count=7),
        ],
        metadata={"widgets": {}, "kernelspec": {"name": "venv", "display_name": "Mine"}},
    )
    clean(notebook)
    cell, unanswered = notebook.cells
    assert (unanswered.outputs, unanswered.execution_count) == ([], None)
    assert notebook.metadata == {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    assert cell.metadata == {}
    assert cell.outputs[0].traceback == ["E: words"]
    assert cell.outputs[1].data == {"text/plain": "a card"}


def test_a_widget_is_shown_as_it_was_at_the_end_where_nbval_does_not_compare() -> None:
    def card(**metadata: object) -> NotebookNode:
        value = new_output("display_data", {VIEW: {"model_id": "1f"}, STILL: "0 likes"})
        return new_code_cell("card", metadata=metadata, outputs=[value])

    notebook = new_notebook(cells=[card(), card(tags=[VARIES]), card(tags=[VARIES])])
    notebook.cells[2].outputs[0].data[VIEW]["model_id"] = "another"
    show_last(notebook, {"1f": "9 likes"})
    shown = [cell.outputs[0].data[STILL] for cell in notebook.cells]
    assert shown == ["0 likes", "9 likes", "0 likes"]


@pytest.mark.long
@pytest.mark.parametrize("path", AGAIN)
def test_a_notebook_runs_twice_in_a_row_and_after_a_restart(
    path: Path, start_kernel: StartKernel
) -> None:
    kernel = start_kernel()
    run(path, kernel)
    run(path, kernel)
    assert kernel.ask("print('checks' in globals())") == "True\n"
    kernel.restart()
    assert kernel.ask("print('checks' in globals())") == "False\n"
    run(path, kernel)


@pytest.mark.long
@pytest.mark.usefixtures("blank")
@pytest.mark.parametrize("path", AGAIN)
def test_each_cell_can_be_run_twice_in_a_row(path: Path, start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            kernel.run(cell)
            kernel.run(cell)


@pytest.mark.long
@pytest.mark.nightly
@pytest.mark.usefixtures("blank")
def test_notebooks_run_in_any_order_while_the_others_are_open(start_kernel: StartKernel) -> None:
    """A reader may close nothing: of any two notebooks, each runs once after the other."""
    for path in (*NOTEBOOKS, *reversed(NOTEBOOKS)):
        run(path, start_kernel())


@pytest.mark.long
@pytest.mark.usefixtures("blank")
def test_how_it_heals_while_another_caches_listener_prunes(
    stack: Stack, start_kernel: StartKernel
) -> None:
    """What the reader looks up in the change table may be gone already."""
    feed = ChangeTableFeed(stack.database_url, options=Options(heartbeat=0.02, max_backoff=0.05))
    (path,) = (path for path in NOTEBOOKS if path.name.startswith("07"))
    another = Cache(stack.redis_url.replace("db=0", "db=1"), "another")
    with Listener(feed, another):
        run(path, start_kernel())


def regenerated(folder: Path) -> dict[str, str]:
    """Run the tool on copies of all notebooks, and return their texts."""
    copy_course(folder)
    copies = sorted(folder.glob("*.ipynb"))
    subprocess.run(
        [sys.executable, ROOT / "tests" / "tools" / "execute_notebooks.py", *copies],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        check=True,
    )
    return {copy.name: copy.read_text() for copy in copies}


def without_varying(text: str) -> str:
    """Return the text without the outputs of cells that may vary."""
    notebook: NotebookNode = json.loads(text)
    for cell in notebook["cells"]:
        if VARIES in cell["metadata"].get("tags", []):
            cell["outputs"] = []
    return json.dumps(notebook, indent=1, ensure_ascii=False)


def run(path: Path, kernel: Any) -> None:
    """Run all code cells; CellExecutionError if one fails."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            kernel.run(cell)
