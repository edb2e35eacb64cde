"""The fault lab's board in a real browser: each button does what it says."""

from collections.abc import Callable

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from reactive_demo.tutorial.faults import FAULTS, Fault
from tools.lab import Lab, close_views, run_all
from tools.looks import cut_rings, dark, faint, narrow, overlapping, white, wrapped

NAME = "06_break_it.ipynb"
BOARD = "board"
"""The cell that shows it; the ones after it click by themselves."""

QUICK = "Cut the wire"

OpenNotebook = Callable[..., Page]


@pytest.fixture(scope="module")
def board(lab: Lab, open_notebook: OpenNotebook) -> Locator:
    """The notebook's board, as it is before any cell has clicked."""
    notebook = nbformat.read(lab.notebooks / NAME, as_version=4)
    names = [cell.id for cell in notebook.cells]
    del notebook.cells[names.index(BOARD) + 1 :]
    nbformat.write(notebook, lab.notebooks / "board.ipynb")
    page = open_notebook("board.ipynb", "board")
    run_all(page)
    board = page.locator(".rd-lab")
    expect(board.locator(".rd-lab-card")).to_have_count(2, timeout=60_000)
    expect(board.locator(".rd-state")).to_have_text(["Listener: live"] * 2)
    return board


def press(board: Locator, name: str) -> None:
    """Click, and wait until it is done and all buttons can be clicked again."""
    status = board.get_by_role("status").first
    done = int(status.get_attribute("data-done"))
    board.get_by_role("button", name=name, exact=True).click()
    expect(status).to_have_attribute("data-done", str(done + 1), timeout=60_000)
    expect(board.locator("button:disabled")).to_have_count(0)


def lost(board: Locator, side: str) -> int:
    return int(board.locator(f".rd-lab-{side} .rd-lost").inner_text())


def breaks(board: Locator, fault: Fault) -> None:
    """The button says what it did, the counters move where they must, and one side is right."""
    before = lost(board, "article")
    press(board, fault.name)
    expect(board.get_by_role("status").first).to_contain_text(fault.watch)
    if fault.loses:
        expect(board.locator(".rd-lab-article .rd-lost")).not_to_have_text(str(before))
    expect(board.locator(".rd-lab-durable .rd-lost")).to_have_text("0")
    expect(board.locator(".rd-lab-durable .rd-stale")).to_have_text("0")
    expect(board.locator(".rd-lab-durable .rd-behind")).to_have_count(0)
    if fault.loses and fault.name != "Row too large":  # there, it is the write that is lost
        expect(board.locator(".rd-lab-article .rd-behind")).to_have_count(10)


def test_a_wire_is_cut_and_one_side_loses(board: Locator) -> None:
    press(board, "Like all")
    for tile in board.locator(".rd-tile .rd-number").all():
        expect(tile).to_have_text("1")
    breaks(board, next(fault for fault in FAULTS if fault.name == QUICK))
    assert lost(board, "article") == 10


def test_the_board_fits_a_laptop_screen_and_a_narrow_one(board: Locator) -> None:
    page = board.page
    assert board.bounding_box()["height"] < 800
    for width in (1300, 700):
        with narrow(page, width):
            for words in (".rd-lab-numbers b, .rd-tile .rd-number", ".rd-flow-last", "button"):
                assert wrapped(board.locator(words)) == []
            for side in board.locator(".rd-lab-card").all():
                assert overlapping(side.locator(".rd-flow-station b")) == []
                assert overlapping(side.locator(".rd-flow-hop > *")) == []
            assert cut_rings(board.get_by_role("button")) == []


def test_the_whole_board_stays_in_view_beside_the_page(board: Locator) -> None:
    page = board.page
    page.set_viewport_size({"width": 1300, "height": 800})
    try:
        page.get_by_role("button", name="Keep in view").click()
        beside = page.locator(".jp-LinkedOutputView")
        expect(beside.locator(".rd-lab-durable")).to_be_in_viewport(ratio=1)
        expect(beside.locator(".rd-lab-controls")).to_be_in_viewport(ratio=1)
        assert wrapped(beside.locator(".rd-tile .rd-number, .rd-lab-numbers b")) == []
    finally:
        close_views(page)
        page.set_viewport_size({"width": 1300, "height": 900})


def test_a_tile_that_is_behind_keeps_its_name(board: Locator) -> None:
    late = board.locator(".rd-lab-article .rd-behind")
    for width in (1300, 700):
        with narrow(board.page, width):
            for n, tile in enumerate(late.all(), 1):
                expect(tile.locator(".rd-caption")).to_have_text(f"user {n}")
                expect(tile.locator(".rd-caption")).to_be_visible()
            assert wrapped(late.locator(".rd-caption")) == []


def test_the_board_is_dark_in_the_dark_theme(board: Locator) -> None:
    with dark(board.page):
        assert white(board) == []


def test_the_words_on_the_board_can_be_read_in_both_themes(board: Locator) -> None:
    words = board.locator("button, .rd-number, .rd-caption, .rd-lab-said p, .rd-state")
    assert faint(words) == []
    with dark(board.page):
        assert faint(words) == []


def test_repair_puts_the_cache_right_and_keeps_the_count(board: Locator) -> None:
    before = lost(board, "article")
    press(board, "Repair")
    expect(board.locator(".rd-behind")).to_have_count(0)
    assert lost(board, "article") == before


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_each_button_does_what_it_says(board: Locator, fault: Fault) -> None:
    breaks(board, fault)


@pytest.mark.long
def test_all_of_them_make_a_table(board: Locator) -> None:
    press(board, "Run them all")
    durable = board.locator(".rd-lab-result span:last-child")
    expect(durable).to_have_count(len(FAULTS) + 1)
    for result in durable.all()[1:]:
        expect(result).to_contain_text("lost 0")
