"""Notebook 05, run as a person would: the two windows in it move."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

SLOW = 60_000


def test_a_click_in_one_window_of_the_notebook_moves_the_other(
    open_notebook: Callable[..., Page],
) -> None:
    page = open_notebook("05_profile_app.ipynb", "app", height=1200)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    last = page.locator(".jp-Notebook .jp-CodeCell").last.locator(".jp-InputPrompt")
    expect(last).to_have_text(re.compile(r"\[\d+\]:"), timeout=SLOW)
    expect(page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')).to_have_count(0)

    windows = [page.frame_locator(f'iframe[title^="{side}"]') for side in ("Left", "Right")]
    for window in windows:
        expect(window.locator(".rd-state")).to_have_text("live", timeout=SLOW)
        expect(window.locator(".rd-count-likes")).to_have_text("301", timeout=SLOW)
    windows[0].get_by_role("button", name="+ Likes").click()
    for window in windows:
        expect(window.locator(".rd-count-likes")).to_have_text("302", timeout=SLOW)
    windows[1].get_by_role("button", name="+ Followers").click()
    for window in windows:
        expect(window.locator(".rd-count-followers")).to_have_text("3", timeout=SLOW)
    link = page.get_by_role("link", name="http://127.0.0.1:")
    assert link.get_attribute("target") == "_blank"
