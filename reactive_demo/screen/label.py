"""A label that shows one column of a cached row, and follows it."""

from typing import Any

import ipywidgets

from reactive_demo.keys import Key, key_text
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.screen.painter import paint

__all__ = ["ABSENT", "LiveLabel"]

ABSENT = "–"  # noqa: RUF001  (an en dash, as in print)
"""Shown in place of a value that the cache does not hold."""


class LiveLabel(ipywidgets.Label):
    """A label with the value of `column` in the cached row `key`; ends with `close()`.

    Further options are ipywidgets.Label's.
    """

    def __init__(self, cache: Cache, key: Key, column: str, **options: Any) -> None:
        super().__init__(value=ABSENT, **options)
        self.cache = cache
        self.key = key_text(key)
        self.column = column
        self._subscription = cache.subscribe(key, self._show)

    def close(self) -> None:
        """Stop following the cache, and take the label off the screen."""
        self._subscription.close()
        super().close()

    def __repr__(self) -> str:
        return f"LiveLabel({self.key}.{self.column})"

    def _show(self, row: dict[str, Any] | None) -> None:
        paint(self, value=ABSENT if row is None else str(row.get(self.column, ABSENT)))

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**options), "text/plain": repr(self)}
