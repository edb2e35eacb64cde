"""The course's pages in Markdown open as pages, and not as text to be edited."""

import pytest
from playwright.sync_api import Browser, expect

from tools.lab import Lab


@pytest.mark.parametrize(
    ("name", "title"), [("summary.md", "The pattern on a page"), ("glossary.md", "Glossary")]
)
def test_a_page_opens_as_a_page(lab: Lab, browser: Browser, name: str, title: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(lab.address(name, name.partition(".")[0]))
        shown = page.locator(".jp-RenderedMarkdown")
        expect(shown.get_by_role("heading", name=title)).to_be_visible(timeout=60_000)
        for picture in shown.locator("img").all():
            expect(picture).to_have_js_property("complete", value=True)
            assert picture.evaluate("image => image.naturalWidth") > 0
