"""JupyterLab as `reactive-demo lab` opens it, on a copy, since a lab saves what it opens."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
from playwright.sync_api import Page, expect

from reactive_demo.tutorial.working_copy import FOLDER
from tools.course import ROOT, copy_course
from tools.execute_notebooks import SKIPPED
from tools.waiting import until

OPTIONS = ["--no-browser", "--port=0"]


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    token: str
    notebooks: Path
    """Those of the reader's copy."""
    unopened: dict[str, str]
    """What they read like before anybody opened one: a lab saves what it shows."""

    def address(self, notebook: str, workspace: str) -> str:
        """Return the address at which `notebook` opens in the workspace."""
        path = f"{self.url}lab/workspaces/{workspace}/tree/notebooks/{notebook}"
        return f"{path}?token={self.token}"

    def deliver(self, notebook: str, name: str) -> None:
        """Put an unopened `notebook` beside the others, as `name`: it gets a kernel of its own."""
        (self.notebooks / name).write_text(self.unopened[notebook], encoding="utf-8")


def start_lab(folder: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], Lab]:
    """Run `reactive-demo lab` in `folder`, with additional arguments for JupyterLab."""
    checkout = folder / "checkout"
    for name in ("reactive_demo", "sql"):
        shutil.copytree(ROOT / name, checkout / name)
    shutil.copy(ROOT / "README.md", checkout)
    copy_course(checkout / "notebooks")
    _leave_out_unanswered_checks(checkout / "notebooks")
    command = [sys.executable, "-m", "reactive_demo", "lab", *OPTIONS, *arguments]
    # The kernels too use the copy.
    return serve(command, checkout, folder, {"PYTHONPATH": str(checkout)})


def serve(
    command: list[str], checkout: Path, folder: Path, environ: dict[str, str], timeout: float = 60
) -> tuple[subprocess.Popen[bytes], Lab]:
    """Start a lab with `command`, its files in `folder`, and wait until it is up.

    It has servers of its own, because its cards follow Redis for as long as it runs.
    """
    config, runtime = folder / "config", folder / "runtime"
    _settings(config)
    server = subprocess.Popen(
        command,
        cwd=checkout,
        env={
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(config),
            "JUPYTER_RUNTIME_DIR": str(runtime),
            "REACTIVE_DEMO_HOME": f"{os.environ['REACTIVE_DEMO_HOME']}-{folder.name}",
            **environ,
        },
        stdout=(folder / "lab.log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        until("JupyterLab is up", lambda: _facts(runtime), timeout=timeout)
    except BaseException:
        os.killpg(server.pid, signal.SIGKILL)
        raise
    facts = _facts(runtime)
    notebooks = checkout / FOLDER / "notebooks"
    unopened = {path.name: path.read_text("utf-8") for path in notebooks.glob("*.ipynb")}
    return server, Lab(facts["url"], facts["token"], notebooks, unopened)


def await_kernel(page: Page) -> None:
    """Wait until the page's notebook is loaded and its kernel answers; an earlier run is lost."""
    expect(page.locator(".jp-NotebookPanel")).to_have_count(1, timeout=60_000)
    page.evaluate(
        """async () => {
            const panel = window.jupyterapp.shell.currentWidget
            const answer = async () => {
                await panel.context.ready
                await panel.sessionContext.ready
                await panel.sessionContext.session.kernel.info
            }
            await Promise.race([
                answer(), new Promise((_, fail) => setTimeout(fail, 60000, "No kernel answers.")),
            ])
        }"""
    )
    bar = page.locator("#jp-main-statusbar")
    expect(bar).to_contain_text("Python 3 (ipykernel) | Idle", timeout=60_000)


def run_all(page: Page, timeout: float = 120) -> None:
    """Run all cells, for at most `timeout` seconds; none may write to stderr."""
    page.evaluate(
        """seconds => Promise.race([
            window.jupyterapp.commands.execute("notebook:run-all-cells"),
            new Promise((_, fail) => setTimeout(fail, 1000 * seconds, "The cells do not end.")),
        ])""",
        timeout,
    )
    expect(page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')).to_have_count(0)


def close_views(page: Page) -> None:
    """Close what `Keep in view` has opened."""
    page.evaluate(
        """() => {
            for (const one of [...window.jupyterapp.shell.widgets("main")]) {
                if (one.node.querySelector(".jp-LinkedOutputView")) one.dispose()
            }
        }"""
    )


def _leave_out_unanswered_checks(notebooks: Path) -> None:
    """Remove the checks of exercises, which fail as long as there is no answer."""
    for path in notebooks.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [
            cell for cell in notebook.cells if SKIPPED not in cell.metadata.get("tags", [])
        ]
        nbformat.write(notebook, path)


def _facts(runtime: Path) -> dict[str, str]:
    """Return what the server says about itself; empty until its file is complete."""
    for path in runtime.glob("jpserver-*.json"):
        with suppress(json.JSONDecodeError):
            return dict(json.loads(path.read_text()))
    return {}


def _settings(config: Path) -> None:
    """Keep cells that are scrolled out of sight in the page, so that tests can read them."""
    folder = config / "lab" / "user-settings" / "@jupyterlab" / "notebook-extension"
    folder.mkdir(parents=True)
    tracker = folder / "tracker.jupyterlab-settings"
    tracker.write_text(json.dumps({"windowingMode": "none"}))
