"""Notebook 02, run and its slider moved as a person would."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tools.lab import run_all
from tools.looks import cut_rings, dark, narrow, seen_through, white, wrapped

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


def test_slider_and_bars_agree(chart: Locator) -> None:
    expect(chart).to_contain_text("measured with 20 ms")
    expect(chart.locator(".widget-readout")).to_have_text("20 ms")
    bars = chart.get_by_role("img", name=re.compile("network delay of 20 ms.*reactive: "))
    expect(bars).to_have_count(1)
    expect(bars.locator(".rd-bar b")).to_have_text([re.compile(r"^[\d.]+ ms$")] * 5)
    waits = [float(words.split()[0]) for words in bars.locator(".rd-bar b").all_inner_texts()]
    widths = [bar.bounding_box()["width"] for bar in bars.locator(".rd-bar i").all()]
    assert [width / widths[0] for width in widths] == pytest.approx(
        [wait / waits[0] for wait in waits], abs=0.05
    )


def test_the_plot_is_no_white_slab(page: Page) -> None:
    plot = page.locator('[data-mime-type="image/png"] img')
    expect(plot).to_have_count(1)
    shares = seen_through(plot)
    assert shares["clear"] > 0.8
    assert shares["white"] < 0.01


def test_the_chart_follows_the_theme_and_fits_a_narrow_page(page: Page, chart: Locator) -> None:
    with dark(page):
        assert white(chart) == []
    with narrow(page):
        assert wrapped(chart.locator(".rd-bar span, .rd-bar b")) == []
        assert cut_rings(chart.get_by_role("button")) == []


def test_the_slider_moves_and_the_bars_follow(chart: Locator) -> None:
    handle = chart.get_by_role("slider")
    handle.focus()
    handle.press("ArrowLeft")
    expect(chart.locator(".widget-readout")).to_have_text("5 ms")
    expect(chart.locator("figcaption")).to_contain_text("a network delay of 5 ms")
    expect(chart).to_contain_text("measured with 5 ms", timeout=30_000)


def test_the_button_measures_again(chart: Locator) -> None:
    chart.get_by_role("button", name="Measure again").click()
    expect(chart).to_contain_text("measuring with", timeout=30_000)
    expect(chart).to_contain_text("measured with", timeout=30_000)
