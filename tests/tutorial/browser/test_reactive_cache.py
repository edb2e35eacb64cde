"""Notebook 04, run and clicked as a person would."""

import re
import shutil
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from reactive_demo.tutorial.working_copy import FIRST
from tools.lab import Lab, await_kernel, run_all
from tools.looks import dark, faint

NAME = "04_reactive_cache.ipynb"
COUNTERS = ("Followings", "Followers", "Likes")

OpenNotebook = Callable[..., Page]


def numbers(page: Page, counter: str) -> list[int]:
    """What the cards show: the one of section 4, the two windows, the one of the burst."""
    labels = page.locator(f".rd-count-{counter.lower()}")
    expect(labels).to_have_text([re.compile(r"^\d+$")] * 4)
    return [int(text) for text in labels.all_inner_texts()]


@pytest.fixture(scope="module")
def page(open_notebook: OpenNotebook) -> Page:
    """The notebook, run once from top to bottom."""
    page = open_notebook(NAME, "first")
    run_all(page)
    return page


def test_each_button_moves_the_number_in_both_windows(page: Page) -> None:
    left, right = page.locator(".rd-windows").first.locator(".rd-card").all()
    for counter in COUNTERS:
        before = numbers(page, counter)[0]
        left.get_by_role("button", name=f"+ {counter}").click()
        for card in (left, right):
            expect(card.locator(f".rd-count-{counter.lower()}")).to_have_text(str(before + 1))
    expect(left.locator(".rd-state")).to_have_text("Listener: live")


def test_fifty_fast_clicks_end_on_the_right_number(page: Page) -> None:
    left, right = page.locator(".rd-windows").first.locator(".rd-card").all()
    before = numbers(page, "Likes")[0]
    left.get_by_role("button", name="+ Likes").evaluate(
        "button => { for (let n = 0; n < 50; n++) button.click() }"
    )
    for card in (left, right):
        expect(card.locator(".rd-count-likes")).to_have_text(str(before + 50), timeout=20_000)


def test_the_burst_button_shows_its_progress_and_the_labels_keep_up(page: Page) -> None:
    before = numbers(page, "Likes")[0]
    page.get_by_role("button", name="Burst: 1,000 likes").click()
    expect(page.locator(".rd-count-likes").last).to_have_text(str(before + 1000), timeout=20_000)
    expect(page.locator(".rd-burst")).to_contain_text("1,000 of 1,000 committed")


def test_the_words_on_the_buttons_can_be_read_in_both_themes(page: Page) -> None:
    buttons = page.locator(":is(.rd-card, .rd-burst) button")
    assert faint(buttons) == []
    with dark(page):
        assert faint(buttons) == []


@pytest.mark.long
def test_a_second_page_with_a_kernel_of_its_own_moves_as_well(
    lab: Lab, open_notebook: OpenNotebook, page: Page
) -> None:
    shutil.copy(lab.notebooks / NAME, lab.notebooks / "second.ipynb")
    second = open_notebook("second.ipynb", "second")
    run_all(second)
    before = numbers(second, "Followers")[0]
    page.locator(".rd-card").first.get_by_role("button", name="+ Followers").click()
    for one in (page, second):
        for label in one.locator(".rd-count-followers").all():
            expect(label).to_have_text(str(before + 1), timeout=20_000)
    expect(second.locator(".rd-state").first).to_have_text("Listener: live")
    expect(page.locator(".rd-state").first).to_have_text(
        "Listener: stopped: a newer listener took over; start this one again to lead"
    )


def test_the_lab_opens_at_the_first_notebook_without_a_question(
    lab: Lab, open_notebook: OpenNotebook
) -> None:
    page = open_notebook(NAME, "unused")
    page.goto(f"{lab.url}?token={lab.token}")
    await_kernel(page)
    assert page.url.endswith(f"/lab/tree/{FIRST}")
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    expect(page.locator(".jp-Dialog, .Toastify__toast")).to_have_count(0)
