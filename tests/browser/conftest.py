"""JupyterLab as `reactive-demo lab` opens it, in a real browser."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from reactive_demo.checks import until

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    token: str
    notebooks: Path

    def address(self, notebook: str, workspace: str) -> str:
        """Where `notebook` opens, in a workspace of its own."""
        path = f"{self.url}lab/workspaces/{workspace}/tree/{notebook}"
        return f"{path}?reset&token={self.token}"


def start_lab(folder: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], Lab]:
    """Run `reactive-demo lab` on a copy of the checkout: a lab saves what it opens."""
    checkout, config, runtime = folder / "checkout", folder / "config", folder / "runtime"
    for name in ("reactive_demo", "notebooks", "sql"):
        shutil.copytree(ROOT / name, checkout / name)
    _settings(config)
    server = subprocess.Popen(
        [sys.executable, "-m", "reactive_demo", "lab", "--no-browser", "--port=0", *arguments],
        cwd=checkout,
        env={
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(config),
            "JUPYTER_RUNTIME_DIR": str(runtime),
        },
        stdout=(folder / "lab.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        until("JupyterLab is up", lambda: list(runtime.glob("jpserver-*.json")), timeout=60)
    except BaseException:
        server.kill()
        raise
    facts = json.loads(next(runtime.glob("jpserver-*.json")).read_text())
    return server, Lab(facts["url"], facts["token"], checkout / "notebooks")


def _settings(config: Path) -> None:
    """Keep cells in the page that are scrolled out of sight, so that a test can read them."""
    folder = config / "lab" / "user-settings" / "@jupyterlab" / "notebook-extension"
    folder.mkdir(parents=True)
    tracker = folder / "tracker.jupyterlab-settings"
    tracker.write_text(json.dumps({"windowingMode": "none"}))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for all browser tests."""
    server, running = start_lab(tmp_path_factory.mktemp("lab"))
    yield running
    server.terminate()
    server.wait(timeout=20)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium."""
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        yield browser
        browser.close()


@pytest.fixture
def open_notebook(lab: Lab, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a notebook in a page of its own."""
    contexts = []

    def opened(name: str, workspace: str, width: int = 1300, height: int = 900) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.goto(lab.address(name, workspace))
        page.locator('.jp-NotebookPanel [data-status="idle"]').first.wait_for(timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
