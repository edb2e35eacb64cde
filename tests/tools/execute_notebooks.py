"""Run notebooks on servers of their own and keep their outputs: `make notebooks`.

What is kept reads well without a kernel and is the same each time: no widget state (GitHub
refuses it incomplete), no views that need a kernel, no times, no files in tracebacks, and each
stream as one text, however it arrived. Where nbval does not compare, a widget is shown as it was
at the end: a board in action, not its zeros. The checks of exercises are not run: the answers are
the reader's.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tools.waiting import until

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python"}
STILL = "image/svg+xml"
VIEW = "application/vnd.jupyter.widget-view+json"
VARIES = "nbval-ignore-output"
SKIPPED = "nbval-skip"

LOOK = """
import json
from ipywidgets.widgets.widget import _instances
print(json.dumps({name: widget.to_svg() for name, widget in _instances.items()
                  if hasattr(widget, "to_svg")}))
"""
"""What the widgets look like at the end."""


def execute(path: Path) -> None:
    """Run the notebook and write it back with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_code_cell(LOOK))
    NotebookClient(
        notebook,
        timeout=60,
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
        skip_cells_with_tag=SKIPPED,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    show_last(notebook, json.loads(notebook.cells.pop().outputs[0].text))
    clean(notebook)
    nbformat.write(notebook, path)


def show_last(notebook: NotebookNode, looks: dict[str, str]) -> None:
    """Replace what each widget looked like at first, where nbval does not compare."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(VIEW, {}).get("model_id")
            if looks.get(view) and VARIES in cell.metadata.get("tags", []):
                output.data[STILL] = looks[view]


def clean(notebook: NotebookNode) -> None:
    """Remove what differs from run to run or needs a kernel."""
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info=LANGUAGE)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if SKIPPED in cell.metadata.get("tags", []):
            cell.outputs, cell.execution_count = [], None
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(VIEW, None)
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]


def main() -> None:
    """Run the notebooks named on the command line, each on fresh servers."""
    for variable in ("DATABASE_URL", "REDIS_URL", "RABBITMQ_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        os.environ.pop(variable, None)
    with tempfile.TemporaryDirectory(prefix="rd-run-", dir="/tmp") as base:
        Path(base).chmod(0o711)  # root's servers are nobody's
        try:
            for number, name in enumerate(sys.argv[1:]):
                os.environ["REACTIVE_DEMO_HOME"] = f"{base}/{number}"
                print(name, flush=True)
                execute(Path(name))
        finally:
            until("the servers are gone", lambda: not _in_use(base), timeout=30)


def _in_use(folder: str) -> bool:
    """Return whether a process names the folder in its command line."""
    return any(
        folder in word
        for process in psutil.process_iter(["cmdline"])
        for word in process.info["cmdline"] or ()
    )


if __name__ == "__main__":
    main()
