"""Every chapter, walked in the reader's copy: what the text states is what the screen shows."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from playwright.sync_api import Locator, Page, expect

from tools.course import each_notebook
from tools.execute_notebooks import VARIES
from tools.lab import Lab

NIGHTLY = {
    "08_read_the_log": [pytest.mark.nightly],
    "09_five_brokers": [pytest.mark.nightly],
    "10_beyond_one_machine": [pytest.mark.nightly],
    "11_your_own_table": [pytest.mark.nightly],
    "12_how_far": [pytest.mark.nightly],
}
SLOW = 60_000
COUNTERS = ("followings", "followers", "likes")

RUN = """async number => {
    const {content} = window.jupyterapp.shell.currentWidget
    content.deselectAll()
    content.activeCellIndex = number
    await Promise.race([
        window.jupyterapp.commands.execute("notebook:run-cell"),
        new Promise((_, fail) => setTimeout(fail, 180000, "The cell does not end.")),
    ])
}"""
"""Run one cell, and return when it is done."""

FAULTS = ", ".join(
    f'[data-mime-type="application/vnd.jupyter.{kind}"]' for kind in ("error", "stderr")
)


@pytest.mark.long
@pytest.mark.parametrize("path", each_notebook(**NIGHTLY))
def test_the_screen_shows_what_the_text_states(
    path: Path, lab: Lab, open_notebook: Callable[..., Page]
) -> None:
    written = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
    name = f"walk_{path.name}"
    lab.deliver(path.name, name)  # other tests have run the one that is there
    page = open_notebook(name, f"walk-{path.stem}")
    lost = errors = 0
    for number, cell in enumerate(nbformat.read(lab.notebooks / name, as_version=4).cells):
        if cell.cell_type != "code":
            continue
        outputs = page.locator(".jp-Notebook .jp-Cell").nth(number)
        outputs = outputs.locator(".jp-Cell-outputArea")
        expect(outputs.locator(".jp-OutputArea-output")).to_have_count(0)  # nothing answers yet
        page.evaluate(RUN, number)
        for sentence in raised(written[cell.id]):
            expect(outputs).to_contain_text(sentence)
            errors += 1
        expect(page.locator(FAULTS)).to_have_count(errors)
        if VARIES not in cell.metadata.get("tags", []):
            for words in texts(written[cell.id]):
                expect(outputs).to_contain_text(words, timeout=SLOW)
        if "check" in cell.metadata.get("tags", []):
            expect(outputs).to_contain_text("✓")
            shows_the_numbers(page, cell.source)
            lost = shows_what_was_lost(page, outputs, lost)


def texts(cell: NotebookNode) -> Iterator[str]:
    """Yield what a cell shows as text, and not as a picture."""
    for output in cell.outputs:
        data = output.get("data", {})
        text = output.get("text") or ("" if len(data) > 1 else data.get("text/plain", ""))
        yield from (line.strip() for line in text.splitlines())


def raised(cell: NotebookNode) -> Iterator[str]:
    """Yield what a cell says that is there to fail."""
    yield from (output.evalue for output in cell.outputs if output.output_type == "error")


def shows_the_numbers(page: Page, source: str) -> None:
    """Compare the counters that a check names with the cards, the windows and the labels."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        stated = {
            word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg in COUNTERS
        }
        if call.func.attr == "label_shows":
            words = re.compile(rf"\b{sum(stated.values())}\b")
            label = page.locator(".widget-label").filter(has_text=words)
            expect(label).not_to_have_count(0)
        for counter, number in stated.items():
            if call.func.attr == "card_shows":
                for shown in page.locator(f".rd-card .rd-count-{counter}").all():
                    expect(shown).to_have_text(f"{number}", timeout=SLOW)
            if call.func.attr == "app_follows":
                for side in ("Left", "Right"):
                    window = page.frame_locator(f'iframe[title^="{side}"]')
                    shown = window.locator(f".rd-count-{counter}")
                    expect(shown).to_have_text(f"{number}", timeout=SLOW)


def shows_what_was_lost(page: Page, outputs: Locator, before: int) -> int:
    """Compare what a check says was lost with the board's counters; return what these show."""
    said = re.search(r"the article's way lost (\d+) changes?", outputs.inner_text())
    board = page.locator(".rd-lab")
    if not board.count():
        return 0
    expect(board.locator(".rd-lab-durable .rd-lost")).to_have_text("0")
    counter = board.locator(".rd-lab-article .rd-lost")
    if said:
        expect(counter).to_have_text(f"{before + int(said[1])}")
    return int(counter.inner_text())
