"""The grid of chapter 11, as a browser lays it out."""

import re

from playwright.sync_api import Browser

from reactive_demo import Cache, RowGrid
from reactive_demo.changes import Change

WORDS = ("", "new", "changed", "deleted")


def test_no_column_moves_when_a_row_does(browser: Browser, valkey_url: str) -> None:
    cache = Cache(valkey_url, "orders")
    cache.put([Change("1", {"id": "1", "status": "open"})])
    grid = RowGrid(cache)
    page = browser.new_page()
    places = []
    for word in WORDS:
        said, count = re.subn(r'(class="rd-word">)[^<]*', rf"\g<1>{word}", grid.value)
        assert count == 1
        page.set_content(f'<!doctype html><div style="font: 13px system-ui">{said}</div>')
        places.append(page.locator(".rd-grid td").first.bounding_box())
    page.close()
    grid.close()
    cache.close()
    assert places == [places[0]] * len(WORDS)
