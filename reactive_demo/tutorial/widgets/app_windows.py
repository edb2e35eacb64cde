"""The profile app in a notebook: its page in two frames, as two people would see it."""

from html import escape
from urllib.parse import quote

import ipywidgets

from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tutorial.jupyter_hub import browser_url
from reactive_demo.tutorial.widgets.card import profile_table
from reactive_demo.tutorial.widgets.fallback import HtmlFallback

__all__ = ["AppWindows"]

LINK = "color: var(--jp-content-link-color, #0645ad); text-decoration: underline"


class AppWindows(HtmlFallback, ipywidgets.HTML):
    """Two windows with the page of `username`, and a link to it.

    `url` is the app's; on a JupyterHub, the browser finds it through jupyter-server-proxy.
    """

    def __init__(self, url: str, username: str, cache: Cache) -> None:
        self.username = username
        self._cache = cache
        address = escape(f"{browser_url(url)}?username={quote(username)}")
        frames = "".join(
            f'<iframe src="{address}" title="{name} window: {escape(username)}" '
            'style="flex: 1 1 330px; min-width: 0; height: 530px; border: 0"></iframe>'
            for name in ("Left", "Right")
        )
        super().__init__(
            f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{frames}</div>'
            "<p>In windows of their own: "
            f'<a href="{address}" target="_blank" style="{LINK}">{address}</a></p>',
            layout={"width": "100%"},
        )

    def __repr__(self) -> str:
        return f"AppWindows({self.username})"

    def to_html(self) -> str:
        """Return the profile twice as plain HTML, for readers without a kernel."""
        table = profile_table(self.username, self._cache.get(self.username))
        return f"<table><tr><td>{table}</td><td>{table}</td></tr></table>"
