"""What only shows on the screen: white slabs, wrapped numbers, cut rings, faint words and more."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page

SCRIPT = Path(__file__).with_name("looks.js").read_text()


def white(part: Locator) -> list[str]:
    """Return what in this part has a light background."""
    return list(part.evaluate(_script("white")))


def wrapped(parts: Locator) -> list[str]:
    """Return the texts that take more than one line, or more room than they have."""
    return list(parts.evaluate_all(_script("wrapped")))


def overlapping(parts: Locator) -> list[str]:
    """Return the pairs of texts that cover each other."""
    return list(parts.evaluate_all(_script("overlapping")))


def faint(parts: Locator) -> list[str]:
    """Return the texts whose contrast with what is behind them is below 4 to 1."""
    return list(parts.evaluate_all(_script("faint")))


def cut_rings(buttons: Locator) -> list[str]:
    """Return what cuts the focus ring of one of the buttons."""
    return [found for button in buttons.all() if (found := button.evaluate(_script("cut")))]


def seen_through(image: Locator) -> dict[str, float]:
    """Return which parts of a picture are transparent, and which white."""
    return dict(image.evaluate(_script("seenThrough")))


@contextmanager
def dark(page: Page) -> Iterator[None]:
    """Show the lab in JupyterLab's dark theme."""
    _choose(page, "JupyterLab Dark", light="false")
    try:
        yield
    finally:
        _choose(page, "JupyterLab Light", light="true")


@contextmanager
def narrow(page: Page, width: int = 700) -> Iterator[None]:
    """Make the window narrow; below 1000 px, without JupyterLab's side bar."""
    before = page.viewport_size or {"width": 1300, "height": 900}
    page.set_viewport_size({"width": width, "height": before["height"]})
    side_bar = width < 1000 and page.locator("#jp-left-stack").is_visible()
    if side_bar:
        _run(page, "application:toggle-left-area")
    try:
        yield
    finally:
        if side_bar:
            _run(page, "application:toggle-left-area")
        page.set_viewport_size(before)


def _run(page: Page, command: str, **arguments: str) -> None:
    page.evaluate(
        "([command, its]) => window.jupyterapp.commands.execute(command, its)",
        [command, arguments],
    )


def _script(name: str) -> str:
    return f"seen => {{ {SCRIPT}; return {name}(seen) }}"


def _choose(page: Page, theme: str, *, light: str) -> None:
    _run(page, "apputils:change-theme", theme=theme)
    page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")
