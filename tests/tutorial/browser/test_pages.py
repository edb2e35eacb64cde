"""The course's pages in Markdown open as pages, and not as text to be edited."""

import pytest
from playwright.sync_api import Browser, expect

from tools.lab import Lab

pytestmark = pytest.mark.long


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


def test_links_lead_from_page_to_page_within_the_copy(lab: Lab, browser: Browser) -> None:
    """Of a chapter, to a file of SQL, to the next chapter; of a page, to the overview, and back."""
    with browser.new_context() as context:
        page = context.new_page()
        for start, words, tab in (
            ("02_cache_strategies.ipynb", "06_write_behind.sql", "06_write_behind.sql"),
            ("02_cache_strategies.ipynb", "03 Schema and triggers", "03_schema_and_triggers.ipynb"),
            ("summary.md", "overview", "README.md"),
        ):
            page.goto(lab.address(start, f"from-{tab.partition('.')[0]}"))
            link = page.get_by_role("link", name=words, exact=True).first
            link.click(timeout=60_000)
            expect(page.get_by_role("tab", name=tab)).to_be_visible(timeout=60_000)
        page.locator(".jp-RenderedMarkdown").get_by_role("link", name="00 Welcome").click()
        opened = "window.jupyterapp.shell.currentWidget.context.path"
        expect(page.get_by_role("tab", name="00_welcome.ipynb")).to_be_visible(timeout=60_000)
        assert page.evaluate(opened) == "notebooks/00_welcome.ipynb"
