"""Notebooks in real kernels, cell by cell."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from tools.course import FOLDER

__all__ = ["Kernel"]


class Kernel:
    """A kernel that runs cells in the notebooks' folder."""

    def __init__(self) -> None:
        self._client = NotebookClient(
            new_notebook(),
            timeout=60,
            kernel_name="python3",
            resources={"metadata": {"path": str(FOLDER)}},
        )

    @contextmanager
    def running(self, **environ: str) -> Iterator["Kernel"]:
        """Start it, and shut it down."""
        with self._client.setup_kernel(env={**os.environ, **environ}):
            yield self

    def run(self, cell: NotebookNode) -> list[NotebookNode]:
        """Run a copy of the cell and return its outputs; CellExecutionError if it fails."""
        copy = new_code_cell(cell.source, metadata=cell.metadata)
        cells = self._client.nb.cells
        cells.append(copy)  # each has a place of its own, where what it displays is updated
        self._client.execute_cell(copy, len(cells) - 1)
        return list(copy.outputs)

    def ask(self, source: str) -> str:
        """Return what `source` prints."""
        return "".join(output.text for output in self.run(new_code_cell(source)))

    def restart(self) -> None:
        """Start over, as *Kernel -> Restart* does."""
        run_sync(self._client.km.restart_kernel)(now=True)
        run_sync(self._client.kc.wait_for_ready)(timeout=60)
