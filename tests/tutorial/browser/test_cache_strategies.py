"""Notebook 02, run and its slider moved as a person would."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tools.lab import run_all

NAME = "02_cache_strategies.ipynb"

pytestmark = pytest.mark.long

OpenNotebook = Callable[..., Page]


@pytest.fixture(scope="module")
def page(open_notebook: OpenNotebook) -> Page:
    """The notebook, run once from top to bottom."""
    page = open_notebook(NAME, "strategies")
    run_all(page)
    return page


@pytest.fixture
def chart(page: Page) -> Locator:
    """The slider, what it says, and the picture."""
    return page.locator(".rd-delay")


def test_the_picture_shows_what_the_cells_have_measured(page: Page, chart: Locator) -> None:
    expect(chart).to_contain_text("measured with 20 ms")
    for picture in (chart.locator("img"), page.locator('[data-mime-type="image/png"] img')):
        expect(picture).to_have_count(1)
        width, alt = picture.evaluate("image => [image.naturalWidth, image.alt]")
        assert width == 960
    assert alt.startswith("What the writer waits for") or not alt
    expect(chart.locator("img")).to_have_attribute(
        "alt", re.compile("reactive: .* with a delay of 20 ms")
    )


def test_the_slider_moves_and_the_picture_is_drawn_anew(chart: Locator) -> None:
    before = chart.locator("img").get_attribute("src")
    handle = chart.get_by_role("slider")
    handle.focus()
    handle.press("ArrowLeft")
    expect(chart.locator(".widget-readout")).to_have_text("5 ms")
    expect(chart).to_contain_text("measured with 5 ms", timeout=30_000)
    expect(chart.locator("img")).not_to_have_attribute("src", before)


def test_the_button_measures_again(chart: Locator) -> None:
    before = chart.locator("img").get_attribute("src")
    chart.get_by_role("button", name="Measure again").click()
    expect(chart).to_contain_text("measuring with", timeout=30_000)
    expect(chart.locator("img")).not_to_have_attribute("src", before, timeout=30_000)
