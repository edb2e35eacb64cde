"""A reader who thinks for a minute before each cell sees what one who hurries sees.

Nobody waits a minute here. A pause takes 3 s, and whatever of ours would end within a minute ends
within that: time-outs, intervals, and what is left of a key's life in Redis. The chapters are
walked side by side, each on servers of its own; what measures comes last.
"""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tools.course import each_notebook
from tools.execute_notebooks import SKIPPED, VARIES
from tools.kernels import Kernel

PAUSE = 3.0
"""Seconds, in place of a minute: longer than each of our shortened time-outs."""

BUSY = "12_how_far"
"""Measures what the machine can do, and so comes after the others: their time-outs are short."""

HURRY = """
import inspect as _inspect, io as _io, sys as _sys
import reactive_demo as _reactive_demo
from reactive_demo.redis_cache import client as _client
from reactive_demo.tutorial.strategies import Consumer as _Consumer
from reactive_demo.tutorial.web.options import WebOptions as _WebOptions

for _kind in (_reactive_demo.Options, _WebOptions):
    _defaults = _kind.__init__.__kwdefaults__
    for _name, _seconds in _defaults.items():
        # Not listener_timeout: a sign of life is given in whole seconds of Redis' clock.
        if isinstance(_seconds, float) and 5 <= _seconds <= 60 and _name != "listener_timeout":
            _defaults[_name] = 2.0 if _name.endswith("_timeout") else _seconds / 20
_Consumer.__init__.__kwdefaults__["patience"] /= 20
_options = _client._options
_client._options = lambda url: {**_options(url), "socket_timeout": 2, "socket_connect_timeout": 2}

_sys.stderr = _said = _io.StringIO()
_stack = _reactive_demo.connect()
"""
"""Make the clocks of a kernel's own run faster, and keep what its threads complain of."""

MINUTE = f"""
with _client.open_redis(_stack.redis_url) as _redis:
    for _key in _redis.scan_iter():
        if (_left := _redis.pttl(_key)) > 0:
            _redis.pexpire(_key, max(1, _left - {1000 * (60 - PAUSE):.0f}))
"""
"""Take from each key that expires the rest of the minute."""


@pytest.fixture(scope="module")
def walks(request: pytest.FixtureRequest) -> Iterator[dict[Path, Future[list[str]]]]:
    """Walk through the chapters that were asked for, each in a thread that mostly sleeps."""
    paths = [
        item.callspec.params["path"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    ]
    starting = threading.Lock()  # all servers at once would be slow to start
    with ThreadPoolExecutor(len(paths)) as threads:
        begun = {p: threads.submit(walk, p, starting) for p in paths if p.stem != BUSY}
        others = list(begun.values())
        for path in paths:
            if path not in begun:
                begun[path] = threads.submit(lambda p=path: wait(others) and walk(p, starting))
        yield begun


def walk(path: Path, starting: threading.Lock) -> list[str]:
    """Run each cell after a pause; return what differs, and what threads complained of."""
    home = f"{os.environ['REACTIVE_DEMO_HOME']}-{path.name[:2]}"
    found = []
    with Kernel().running(REACTIVE_DEMO_HOME=home) as kernel:
        with starting:
            kernel.run(new_code_cell(HURRY))
        for cell in nbformat.read(path, as_version=4).cells:
            tags = set(cell.metadata.get("tags", []))
            if cell.cell_type == "code" and SKIPPED not in tags:
                shown, wanted = seen(kernel.run(cell)), seen(cell.outputs)
                if shown != wanted and VARIES not in tags:
                    found.append(f"{cell.id} shows {shown!r} instead of {wanted!r}")
                time.sleep(PAUSE)
                kernel.run(new_code_cell(MINUTE))
        return found + kernel.ask("print(_said.getvalue(), end='')").splitlines()


def seen(outputs: list[NotebookNode]) -> str:
    """Return the text that the outputs show."""
    return "".join(one.get("text") or one.get("data", {}).get("text/plain", "") for one in outputs)


@pytest.mark.long
@pytest.mark.nightly
@pytest.mark.parametrize("path", each_notebook())
def test_nothing_breaks_for_a_reader_who_pauses_to_think(
    path: Path, walks: dict[Path, Future[list[str]]]
) -> None:
    assert walks[path].result() == []
