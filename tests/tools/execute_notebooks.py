"""Run notebooks on servers of their own and keep their outputs: `make notebooks`.

What is kept reads well without a kernel and is the same each time: no widget state (GitHub
refuses it incomplete), no views that need a kernel, no times.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
VIEW = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> None:
    """Run the notebook and write it back with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=60,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    clean(notebook)
    nbformat.write(notebook, path)


def clean(notebook: NotebookNode) -> None:
    """Remove what differs from run to run or needs a kernel."""
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(VIEW, None)


def main() -> None:
    """Run the notebooks named on the command line, each from a clean slate."""
    for variable in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(variable, None)
    for name in sys.argv[1:]:
        home = tempfile.mkdtemp(prefix="rd-run-", dir="/tmp")
        os.environ["REACTIVE_DEMO_HOME"] = f"{home}/home"
        print(name, flush=True)
        try:
            execute(Path(name))
        finally:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
