"""Notebook 00, run and clicked as a newcomer would."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect


def test_the_doctor_is_content_and_a_click_moves_both_cards(
    open_notebook: Callable[..., Page],
) -> None:
    page = open_notebook("00_welcome.ipynb", "welcome")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    errors = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
    assert errors.all_inner_texts() == []
    last = page.locator(".jp-Notebook .jp-CodeCell").last.locator(".jp-InputPrompt")
    expect(last).to_have_text(re.compile(r"\[\d+\]:"), timeout=60_000)
    expect(page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')).to_have_count(0)
    table = page.locator(".jp-OutputArea-output table").first
    expect(table).to_contain_text("a notification came back")
    expect(table).not_to_contain_text("mend")

    expect(page.locator(".rd-card")).to_have_count(2)
    left, right = page.locator(".rd-card").all()
    before = int(left.locator(".rd-count-followings").inner_text())
    left.get_by_role("button", name="+ Followings").click()
    for card in (left, right):
        expect(card.locator(".rd-count-followings")).to_have_text(str(before + 1))
