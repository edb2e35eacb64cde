"""A lab and a browser for all tests of this folder."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tools.lab import Lab, await_kernel, start_lab

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for all browser tests."""
    server, running = start_lab(tmp_path_factory.mktemp("lab"))
    yield running
    server.terminate()
    server.wait(timeout=20)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def open_notebook(lab: Lab, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a notebook in a page of its own."""
    contexts: list[BrowserContext] = []

    def opened(name: str, workspace: str, width: int = 1300, height: int = 900) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.goto(lab.address(name, workspace))
        await_kernel(page)
        return page

    yield opened
    for context in contexts:
        context.close()
