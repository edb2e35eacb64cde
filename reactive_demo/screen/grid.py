"""A table's cached rows on the screen, as they appear, change, and go."""

import json
import logging
import threading
import time
from collections.abc import Iterable
from decimal import Decimal
from html import escape
from importlib.resources import files
from itertools import islice
from typing import Any

import ipywidgets
import redis

from reactive_demo.errors import first_line
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.client import subscribing
from reactive_demo.redis_cache.keys import row_pattern
from reactive_demo.screen.label import ABSENT
from reactive_demo.screen.painter import paint

__all__ = ["RowGrid"]

log = logging.getLogger(__name__)

FADE = 1.5
"""Seconds for which one sees that a value is new, or a row gone; as in `grid.css`."""

TICK = 0.2
"""Seconds between two looks at what has faded, and whether the grid is closed."""

RETRY = 1.0
"""Seconds before Redis is tried again."""

MAX_MESSAGES = 1_000
"""Messages taken in before the rows are read."""

STYLE = (files("reactive_demo.screen") / "grid.css").read_text(encoding="utf-8")


class RowGrid(ipywidgets.HTML):
    """A table of the rows that `cache` holds: all, or the `limit` that changed last.

    `columns` says which columns, in which order. A value that is new shines for a moment, and a
    row that is deleted fades. What a lost message did not say is seen within `poll_interval`
    seconds. Ends with `close()`.
    """

    def __init__(
        self,
        cache: Cache,
        columns: Iterable[str] | None = None,
        *,
        limit: int = 50,
        poll_interval: float = 5.0,
    ) -> None:
        self.cache = cache
        self.columns = None if columns is None else [*columns]
        self.limit = limit
        self._poll_interval = poll_interval
        self._rows: dict[str, dict[str, Any]] = {}  # the one that changed last comes last
        self._fresh: dict[tuple[str, str], float] = {}
        self._gone: dict[str, float] = {}
        self._complaint = ""
        self._closing = threading.Event()
        super().__init__(layout={"width": "100%", "overflow": "auto"})
        try:
            self._take(self._known(), shining=False)
        except redis.RedisError as error:
            self._complain(error)
        self.value = self._html()
        self._thread = threading.Thread(target=self._run, name="reactive_demo grid", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following the cache, and take the grid off the screen."""
        self._closing.set()
        super().close()

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows that it shows, by key; those that fade no longer."""
        return {key: row for key, row in [*self._rows.items()] if key not in self._gone}

    def to_html(self) -> str:
        """Return the rows as they are now as plain HTML, for readers without a kernel."""
        return self._table(moving=False)

    def __repr__(self) -> str:
        return f"RowGrid({self.cache.table})"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options)
        return {**bundle, "text/plain": repr(self), "text/html": self.to_html()}

    # The thread

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with subscribing(self.cache.redis_url) as pubsub:
                    pubsub.psubscribe(row_pattern(self.cache.table))
                    self._follow(pubsub)
            except redis.exceptions.NoPermissionError:  # to subscribe: then it polls
                self._take(self._known())
                self._show()
                self._closing.wait(self._poll_interval)
            except redis.RedisError as error:
                self._complain(error)
                self._show()
                self._closing.wait(RETRY)
            except Exception:
                log.exception("the grid ends")
                return

    def _follow(self, pubsub: Any) -> None:
        """Read what a message names, and everything once in a while."""
        prefix, next_poll = self.cache.redis_key(""), 0.0
        while not self._closing.is_set():
            unread = set()
            message = pubsub.get_message(timeout=TICK)
            for _ in range(MAX_MESSAGES):
                if message is None:
                    break
                if message["type"] == "pmessage":
                    unread.add(str(message["channel"]).removeprefix(prefix))
                message = pubsub.get_message(timeout=0)
            if time.monotonic() >= next_poll:
                unread |= self._known()
                next_poll = time.monotonic() + self._poll_interval
            is_new, has_faded = self._take(unread), self._fade()
            if is_new or has_faded:
                self._show()

    def _known(self) -> set[str]:
        """Return the keys that it shows, and as many of the cache's as it could."""
        return {*self._rows, *islice(self.cache.scan(), self.limit)}

    def _take(self, keys: set[str], *, shining: bool = True) -> bool:
        """Read the rows of `keys`; return whether anything is new."""
        rows = self.cache.get_many(sorted(keys)) if keys else {}
        now, is_new = time.monotonic(), bool(self._complaint)
        self._complaint = ""
        for key, row in rows.items():
            held = self._rows.get(key)
            if row is None:
                if held is not None and key not in self._gone:
                    self._gone[key], is_new = now, True
            elif row != held or key in self._gone:
                is_new = True
                self._gone.pop(key, None)
                self._rows.pop(key, None)
                self._rows[key] = row
                if shining:
                    names = [name for name in row if held is None or row[name] != held.get(name)]
                    self._fresh |= {(key, name): now for name in names}
        for key in [*self._rows][: max(0, len(self._rows) - self.limit)]:
            del self._rows[key]
        return is_new

    def _fade(self) -> bool:
        """Let go of what has been seen for long enough; return whether anything is."""
        seen = time.monotonic() - FADE
        faded = [key for key, since in self._gone.items() if since < seen]
        for key in faded:
            del self._gone[key]
            self._rows.pop(key, None)
        stale = [which for which, since in self._fresh.items() if since < seen]
        for which in stale:
            del self._fresh[which]
        return bool(faded or stale)

    def _complain(self, error: redis.RedisError) -> None:
        self._complaint = f"Redis does not answer ({first_line(error)})"

    def _show(self) -> None:
        paint(self, value=self._html())

    def _html(self) -> str:
        return f"<style>{STYLE}</style>{self._table()}"

    def _table(self, *, moving: bool = True) -> str:
        rows = dict(sorted(self._rows.items(), key=lambda item: _order(item[0])))
        names = self.columns or list(dict.fromkeys(name for row in rows.values() for name in row))
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
        body = "".join(self._row(key, row, names, moving) for key, row in rows.items())
        head = f'<th aria-label="what happened"></th>{head}' if moving else head
        return (
            f'<table class="rd-grid"><caption>{escape(self._caption(len(self.rows)))}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _caption(self, count: int) -> str:
        if self._complaint:
            return self._complaint
        what = f"{self.cache.table}: {count} row{'s' * (count != 1)} in the cache"
        return what if count < self.limit else f"{self.cache.table}: the {count} that changed last"

    def _row(self, key: str, row: dict[str, Any], names: list[str], moving: bool) -> str:
        cells = "".join(self._cell(key, name, row.get(name, ABSENT), moving) for name in names)
        if not moving:
            return f"<tr>{cells}</tr>"
        word = self._word(key, row)
        gone = ' class="rd-gone"' if key in self._gone else ""
        return f'<tr{gone}><th scope="row" class="rd-word">{word}</th>{cells}</tr>'

    def _cell(self, key: str, name: str, value: object, moving: bool) -> str:
        kinds, style = [], ""
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            kinds.append("rd-number")
        if moving and (since := self._fresh.get((key, name))) is not None:
            kinds.append("rd-fresh")
            # The animation goes on where it was when the table was last shown.
            style = f' style="animation-delay: -{time.monotonic() - since:.2f}s"'
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        return f"<td{kind}{style}>{escape(_shown(value))}</td>"

    def _word(self, key: str, row: dict[str, Any]) -> str:
        """Say what has just happened to a row, for those who do not see it shine or fade."""
        if key in self._gone:
            return "deleted"
        fresh = sum((key, name) in self._fresh for name in row)
        return "" if not fresh else "new" if fresh == len(row) else "changed"


def _shown(value: object) -> str:
    """Return text as it is, and any other value as JSON has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _order(key: str) -> tuple[int, str]:
    """Sort whole numbers by size, and everything else as text."""
    return (len(key), key) if key.isdecimal() else (1_000_000, key)
