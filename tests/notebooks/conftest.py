"""Notebooks in real kernels, cell by cell."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from reactive_demo import Stack

ROOT = Path(__file__).resolve().parents[2]


class Kernel:
    """A kernel that runs cells in the notebooks' folder."""

    def __init__(self) -> None:
        self._client = NotebookClient(
            new_notebook(cells=[new_code_cell()]),
            timeout=60,
            kernel_name="python3",
            resources={"metadata": {"path": str(ROOT / "notebooks")}},
        )

    @contextmanager
    def running(self, **environ: str) -> Iterator["Kernel"]:
        """Start it, and shut it down."""
        with self._client.setup_kernel(env={**os.environ, **environ}):
            yield self

    def run(self, cell: NotebookNode) -> list[NotebookNode]:
        """Run a copy of the cell and return its outputs; CellExecutionError if it fails."""
        copy = new_code_cell(cell.source, metadata=cell.metadata)
        self._client.execute_cell(copy, 0)
        return list(copy.outputs)

    def ask(self, source: str) -> str:
        """Return what `source` prints."""
        return "".join(output.text for output in self.run(new_code_cell(source)))

    def restart(self) -> None:
        """Start over, as *Kernel -> Restart* does."""
        run_sync(self._client.km.restart_kernel)(now=True)
        run_sync(self._client.kc.wait_for_ready)(timeout=60)


@pytest.fixture
def start_kernel() -> Iterator[Callable[[], Kernel]]:
    """Start any number of kernels; they live until the test ends."""
    with ExitStack() as kernels:
        yield lambda: kernels.enter_context(Kernel().running())


@pytest.fixture
def blank(stack: Stack) -> None:
    """Empty the servers that notebooks connect to."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS reactive CASCADE")
        connection.execute("DROP TABLE IF EXISTS public.profile CASCADE")
    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushall()
