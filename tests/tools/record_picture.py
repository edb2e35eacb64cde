"""Take README's picture from a live lab: two cards, clicks, and a burst (`make picture`)."""

import io
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tools.lab import ROOT, await_kernel, start_lab

PICTURE = ROOT / "notebooks" / "images" / "alive.gif"
NOTEBOOK = "04_reactive_cache.ipynb"


def film(page: Page) -> list[tuple[bytes, int]]:
    """Click as a reader would; frames with their time in milliseconds."""
    windows = page.locator(".rd-windows")
    left = windows.locator(".rd-card").first
    frames: list[tuple[bytes, int]] = []

    def look(milliseconds: int) -> None:
        frames.append((windows.screenshot(), milliseconds))

    look(900)
    for counter in ("Likes", "Likes", "Followers", "Followings", "Likes"):
        button = left.get_by_role("button", name=f"+ {counter}")
        button.hover()
        look(250)
        button.click()
        page.wait_for_timeout(100)
        look(550)
    page.mouse.move(0, 0)
    for button in page.locator(".rd-burst button").all():
        button.evaluate("button => button.click()")
    for _ in range(12):
        look(90)
    page.wait_for_timeout(1500)
    look(2500)
    return frames


def save(frames: list[tuple[bytes, int]]) -> None:
    """Write the frames as a GIF."""
    images = [Image.open(io.BytesIO(frame)).convert("RGB") for frame, _ in frames]
    palette = images[0].quantize(64)
    drawn = [image.quantize(64, palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [time for _, time in frames]
    drawn[0].save(PICTURE, save_all=True, append_images=drawn[1:], duration=times, loop=0)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Open the lab, run the notebook, film the two windows."""
    world = Path(tempfile.mkdtemp(prefix="rd-picture-", dir="/tmp"))
    world.chmod(0o711)
    os.environ["REACTIVE_DEMO_HOME"] = str(world / "home")
    server, lab = start_lab(world)
    try:
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1240, "height": 900})
            page.goto(lab.address(NOTEBOOK, "picture"))
            await_kernel(page)
            page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
            page.locator(".rd-card").nth(3).wait_for(timeout=60_000)
            page.wait_for_timeout(2000)
            save(film(page))
            browser.close()
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(world, ignore_errors=True)


if __name__ == "__main__":
    main()
