"""Take README's pictures from a live lab: cards, the flow, clicks and a burst (`make picture`).

One is light and one dark, as GitHub's pages are.
"""

import io
import os
import shutil
import tempfile
import time
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tools.lab import ROOT, Lab, await_kernel, start_lab
from tools.looks import dark

PICTURES = ROOT / "notebooks" / "images"

CELL = """
from ipywidgets import VBox
from reactive_demo import (
    BurstButton, Cache, ChangeTableFeed, FlowView, Listener, ProfileCard, Profiles, Windows,
    connect, set_stage)

stack = connect()
set_stage(stack, "ada", captured=True)
profiles, cache = Profiles(stack.database_url), Cache(stack.redis_url)
profiles.increment("ada", "followers")
listener = Listener(ChangeTableFeed(stack.database_url), cache, takeover=True).start()
listener.wait_until("live")
cards = [ProfileCard(profiles, cache, "ada", listener) for _ in range(2)]
burst = BurstButton(profiles, "ada")
burst.layout.margin = "40px 0 0"  # below the picture, which grows by a line
VBox([Windows(*cards), FlowView(listener, "The path of ada's changes", profiles=profiles), burst])
"""

WIDTH = 960


class Film:
    """Frames, each shown for as long as it took until the next."""

    def __init__(self, page: Page) -> None:
        self.frames: list[tuple[Image.Image, float]] = []
        self._page = page
        self._box = _around(page, ".rd-windows", ".rd-flow")

    def run(self, seconds: float) -> None:
        """Film for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begun = time.monotonic()
            picture = Image.open(io.BytesIO(self._page.screenshot(clip=self._box)))
            self._page.wait_for_timeout(60)
            self.frames.append((picture.convert("RGB"), 1000 * (time.monotonic() - begun)))


def act(page: Page) -> Film:
    """Click as a reader would."""
    film = Film(page)
    cards = page.locator(".rd-windows .rd-card")
    film.run(0.5)
    for card, counter, seconds in ((0, "Likes", 3.2), (1, "Followers", 3.2)):
        cards.nth(card).get_by_role("button", name=f"+ {counter}").click()
        film.run(seconds)
    page.mouse.move(0, 0)
    page.locator(".rd-burst button").first.evaluate("button => button.click()")
    film.run(5)
    return film


def _around(page: Page, *selectors: str) -> dict[str, float]:
    """The part of the page that holds all of these."""
    boxes = [box for name in selectors if (box := page.locator(name).first.bounding_box())]
    left, top = (min(box[side] for box in boxes) for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes)
    bottom = max(box["y"] + box["height"] for box in boxes)
    return {"x": left, "y": top, "width": right - left, "height": bottom - top + 32}


def save(film: Film, name: str) -> None:
    """Write the frames as a GIF; what stands still is one frame."""
    path = PICTURES / name
    images: list[Image.Image] = []
    times: list[float] = []
    palette = film.frames[-1][0].quantize(160)
    for picture, milliseconds in film.frames:
        small = picture.resize((WIDTH, picture.height * WIDTH // picture.width))
        drawn = small.quantize(160, palette=palette, dither=Image.Dither.NONE)
        if images and images[-1].tobytes() == drawn.tobytes():
            times[-1] += milliseconds
        else:
            images.append(drawn)
            times.append(milliseconds)
    times[-1] += 1500
    images[0].save(path, save_all=True, append_images=images[1:], duration=times, loop=0)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB, {len(images)} frames")


def open_cell(lab: Lab, page: Page) -> None:
    """Open a notebook that has this one cell."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata=kernel)
    nbformat.write(notebook, lab.notebooks / "picture.ipynb")
    page.goto(lab.address("picture.ipynb", "picture"))
    await_kernel(page)
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")


def run_cell(page: Page) -> None:
    """Run the cell anew, and wait until all of it is there."""
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    for name in (".rd-card", ".rd-flow", ".rd-burst button"):
        page.locator(name).first.wait_for(timeout=60_000)
    page.locator(".rd-flow").evaluate("view => view.closest('.jp-Cell').scrollIntoView(false)")
    page.wait_for_timeout(2000)


def main() -> None:
    """Open the lab, run the cell, film what it shows."""
    world = Path(tempfile.mkdtemp(prefix="rd-picture-", dir="/tmp"))
    world.chmod(0o711)
    os.environ["REACTIVE_DEMO_HOME"] = str(world / "home")
    server, lab = start_lab(world)
    try:
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1240, "height": 1100})
            open_cell(lab, page)
            run_cell(page)
            save(act(page), "alive.gif")
            with dark(page):
                run_cell(page)
                save(act(page), "alive-dark.gif")
            browser.close()
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(world, ignore_errors=True)


if __name__ == "__main__":
    main()
