"""The course's pictures on any background: GitHub's and JupyterLab's, light and dark."""

import base64
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tools.course import FOLDER, ROOT
from tools.looks import seen_through

PICTURES = [
    *sorted((FOLDER / "images").glob("*.svg")),
    ROOT / "reactive_demo" / "tutorial" / "widgets" / "flow.svg",
]


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    return browser.new_page()


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_is_no_white_slab(page: Page, picture: Path) -> None:
    data = base64.b64encode(picture.read_bytes()).decode()
    page.set_content(f'<img src="data:image/svg+xml;base64,{data}" width="960">')
    shares = seen_through(page.locator("img"))
    assert shares["clear"] > 0.3
    assert shares["white"] < 0.05, "only words in boxes are white"
