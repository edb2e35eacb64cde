"""Notebook 05, run as a person would: the two windows in it move."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tools.lab import close_views, run_all
from tools.looks import dark, narrow, wrapped

SLOW = 60_000

OVERHANG = """its => {
    const right = one => one.getBoundingClientRect().right
    return Math.max(...[...its.querySelectorAll("iframe")].map(right)) - right(its)
}"""
"""By how many pixels the frames are wider than the output that holds them."""


@pytest.mark.long
def test_a_click_in_one_window_of_the_notebook_moves_the_other(
    open_notebook: Callable[..., Page],
) -> None:
    page = open_notebook("05_profile_app.ipynb", "app", height=1200)
    run_all(page)
    windows = [page.frame_locator(f'iframe[title^="{side}"]') for side in ("Left", "Right")]
    for window in windows:
        expect(window.locator(".rd-state")).to_have_text("live", timeout=SLOW)
        expect(window.locator(".rd-count-likes")).to_have_text("301", timeout=SLOW)
    _click(page, "Left", "+ Likes")
    for window in windows:
        expect(window.locator(".rd-count-likes")).to_have_text("302", timeout=SLOW)
    _click(page, "Right", "+ Followers")
    for window in windows:
        expect(window.locator(".rd-count-followers")).to_have_text("3", timeout=SLOW)
    link = page.get_by_role("link", name="http://127.0.0.1:")
    assert link.get_attribute("target") == "_blank"
    page.get_by_role("button", name="Keep in view").click()
    second = page.locator(".jp-LinkedOutputView")
    for side in ("Left", "Right"):
        window = second.frame_locator(f'iframe[title^="{side}"]')
        expect(window.locator(".rd-count-likes")).to_have_text("302", timeout=SLOW)
    expect(second.get_by_role("button", name="Keep in view")).to_be_hidden()
    beside, text = second.bounding_box(), page.locator(".jp-NotebookPanel").bounding_box()
    assert beside
    assert text
    assert beside["x"] >= text["x"] + text["width"]
    page.get_by_role("button", name="Keep in view").first.click()
    expect(second).to_have_count(1)  # one is enough
    with dark(page):
        for frame in page.locator("iframe").all():
            expect(frame).to_have_css("filter", re.compile("^invert"))
    for width in (1300, 700):
        page.set_viewport_size({"width": width, "height": 1200})
        for one in (page.locator(".jp-NotebookPanel"), second):
            output = one.locator(".jp-OutputArea-output", has=page.locator("iframe"))
            assert output.evaluate(OVERHANG) <= 0
    close_views(page)
    with narrow(page):
        for window in windows:
            assert wrapped(window.locator("button, .rd-number")) == []


def _click(page: Page, side: str, button: str) -> None:
    """Click as a person does: first the window comes in sight and rests; then see it answered.

    Playwright sees to it that a button rests in its frame, not that the frame rests in the page,
    and a notebook that has just been scrolled by many screens moves under the mouse.
    """
    frame = f'iframe[title^="{side}"]'
    page.locator(frame).hover()
    with page.expect_response(lambda response: "action=inc_" in response.url) as answer:
        page.frame_locator(frame).get_by_role("button", name=button).click()
    assert answer.value.status == 200, answer.value.text()
