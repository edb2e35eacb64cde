"""A stranger's first minute: clone, `make lab`, click."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tools.lab import OPTIONS, ROOT, await_kernel, run_all, serve


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files of the checkout, as a clone would have them, and nothing else."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("this is no clone: what belongs to it is not known")
    for name in listed.stdout.splitlines():
        target = tmp_path / "a clone" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target, follow_symlinks=False)
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path / "a clone", check=True)
    return tmp_path / "a clone"


def changed(clone: Path) -> str:
    """What git finds changed or new in the clone."""
    command = ["git", "ls-files", "--modified", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=True).stdout


@pytest.mark.long
def test_make_lab_in_a_fresh_clone_and_the_first_click(
    clone: Path, tmp_path: Path, browser: Browser
) -> None:
    python = f"PYTHON={sys._base_executable}"
    command = ["make", "lab", python, f"ARGS={' '.join(OPTIONS)}"]
    server, lab = serve(command, clone, tmp_path, {"PYTHONPATH": ""}, timeout=300)
    try:
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.goto(f"{lab.url}?token={lab.token}")
        await_kernel(page)
        run_all(page)
        card = page.locator(".rd-card").first
        expect(card.locator(".rd-count-likes")).to_have_text("1", timeout=60_000)
        card.get_by_role("button", name="+ Likes").click()
        expect(page.locator(".rd-card").last.locator(".rd-count-likes")).to_have_text("2")
        page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        page.close()
        assert changed(clone) == ""
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
