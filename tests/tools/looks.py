"""What only shows on the screen: white slabs, wrapped numbers, cut focus rings, covered words."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, Page

WHITE = """
root => [root, ...root.querySelectorAll("*")].filter(part => {
    const [red, green, blue, alpha = 1] = getComputedStyle(part).backgroundColor.match(/[\\d.]+/g).map(Number)
    return alpha > 0.5 && Math.min(red, green, blue) > 200 && part.getBoundingClientRect().width > 40
}).map(part => part.className || part.tagName)
"""

WRAPPED = """
parts => parts.filter(part => {
    const words = document.createRange()
    words.selectNodeContents(part)
    return new Set([...words.getClientRects()].filter(box => box.width).map(box => Math.round(box.top))).size > 1
        || part.scrollWidth > part.clientWidth + 1 && part.clientWidth > 0 && getComputedStyle(part).overflow !== "visible"
}).map(part => part.textContent)
"""

CUT = """
button => {
    button.focus({ focusVisible: true })
    const { outlineWidth, outlineOffset } = getComputedStyle(button)
    const ring = parseFloat(outlineWidth) + Math.max(0, parseFloat(outlineOffset))
    const box = button.getBoundingClientRect()
    for (let part = button.parentElement; part && !part.matches(".jp-OutputArea-output"); part = part.parentElement) {
        if (getComputedStyle(part).overflow === "visible") continue
        const around = part.getBoundingClientRect()
        if (box.left - ring < around.left || box.right + ring > around.right
            || box.top - ring < around.top || box.bottom + ring > around.bottom) return part.className
    }
    return ring > 0 ? "" : "no ring"
}
"""

OVERLAPPING = """
parts => {
    const boxes = parts.map(part => {
        const words = document.createRange()
        words.selectNodeContents(part)
        return [part.textContent, words.getBoundingClientRect()]
    }).filter(([, box]) => box.width)
    return boxes.flatMap(([first, a], n) => boxes.slice(n + 1)
        .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
        .map(([second]) => `${first} / ${second}`))
}
"""

SEEN_THROUGH = """
async image => {
    await image.decode()
    const canvas = document.createElement("canvas")
    canvas.width = image.naturalWidth
    canvas.height = image.naturalHeight
    const paper = canvas.getContext("2d")
    paper.drawImage(image, 0, 0)
    const { data } = paper.getImageData(0, 0, canvas.width, canvas.height)
    let clear = 0, white = 0
    for (let n = 0; n < data.length; n += 4) {
        if (data[n + 3] < 128) clear += 1
        else if (Math.min(data[n], data[n + 1], data[n + 2]) > 200) white += 1
    }
    return { clear: 4 * clear / data.length, white: 4 * white / data.length }
}
"""


def white(part: Locator) -> list[str]:
    """Return what in this part has a light background."""
    return list(part.evaluate(WHITE))


def wrapped(parts: Locator) -> list[str]:
    """Return the texts that take more than one line, or more room than they have."""
    return list(parts.evaluate_all(WRAPPED))


def overlapping(parts: Locator) -> list[str]:
    """Return the pairs of texts that cover each other."""
    return list(parts.evaluate_all(OVERLAPPING))


def cut_rings(buttons: Locator) -> list[str]:
    """Return what cuts the focus ring of one of the buttons."""
    return [found for button in buttons.all() if (found := button.evaluate(CUT))]


def seen_through(image: Locator) -> dict[str, float]:
    """Return which parts of a picture are transparent, and which white."""
    return dict(image.evaluate(SEEN_THROUGH))


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
    """Make the window narrow, without JupyterLab's side bar."""
    before = page.viewport_size or {"width": 1300, "height": 900}
    page.set_viewport_size({"width": width, "height": before["height"]})
    try:
        yield
    finally:
        page.set_viewport_size(before)


def _choose(page: Page, theme: str, *, light: str) -> None:
    page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme
    )
    page.wait_for_selector(f'body[data-jp-theme-light="{light}"]')
