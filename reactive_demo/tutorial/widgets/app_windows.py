"""The profile app in a notebook: its page in two frames, as two people would see it."""

from html import escape
from urllib.parse import quote

import ipywidgets

from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tutorial.jupyter_hub import browser_url
from reactive_demo.tutorial.widgets.card import profile_picture
from reactive_demo.tutorial.widgets.fallback import StillPicture

__all__ = ["AppWindows"]

STYLE = """
.rd-app-windows { container-type: inline-size; display: flex; flex-wrap: wrap; gap: 8px; }
.rd-window { flex: 1 1 270px; min-width: 0; height: 560px; border: 0; border-radius: 14px; }
@container (380px < width <= 430px) or (760px < width <= 868px) { .rd-window { height: 480px; } }
@media (prefers-color-scheme: light) { [data-jp-theme-light="false"] .rd-window { filter: FLIP; } }
@media (prefers-color-scheme: dark) { [data-jp-theme-light="true"] .rd-window { filter: FLIP; } }
""".replace("FLIP", "invert(0.92) hue-rotate(180deg)")
"""The page in a frame follows the system's theme; where JupyterLab's is the other one, flip it."""

LINK = "color: var(--jp-content-link-color, #0645ad); text-decoration: underline"


class AppWindows(StillPicture, ipywidgets.HTML):
    """Two windows with the page of `username`, and a link to it.

    `url` is the app's; on a JupyterHub, the browser finds it through jupyter-server-proxy.
    """

    def __init__(self, url: str, username: str, cache: Cache) -> None:
        self.username = username
        self._cache = cache
        address = escape(f"{browser_url(url)}?username={quote(username)}")
        frames = "".join(
            f'<iframe src="{address}" title="{name} window: {escape(username)}" '
            'class="rd-window"></iframe>'
            for name in ("Left", "Right")
        )
        super().__init__(
            f'<style>{STYLE}</style><div class="rd-app-windows">{frames}</div>'
            "<p>In windows of their own: "
            f'<a href="{address}" target="_blank" style="{LINK}">{address}</a></p>',
            layout={"width": "auto"},
        )

    def __repr__(self) -> str:
        return f"AppWindows({self.username})"

    def to_svg(self) -> str:
        """Return the profile twice as a picture, for readers without a kernel."""
        return profile_picture(*[(self.username, self._cache.get(self.username))] * 2)
