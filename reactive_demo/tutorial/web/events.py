"""A row as a server-sent event. No I/O.

`data` is the row as JSON on one line, `null` where there is none; `id` is its version. An event is
the whole state, not a step: whoever was away needs only the last, whatever id he last saw. (To
skip what has the same version would be wrong after a restore, when versions begin again.)
"""

import json
import re
from typing import Any

__all__ = ["HEARTBEAT", "OPENING", "event", "event_of_message"]

OPENING = b"retry: 1000\n\n"
"""How many milliseconds a browser waits before it connects again."""

HEARTBEAT = b": heartbeat\n\n"
"""A comment, which no browser shows: it keeps proxies from closing what is silent."""


def event(row: dict[str, Any] | None, version: object) -> bytes:
    """The event for a row; without `id` where no version is known."""
    known = isinstance(version, str) and re.fullmatch("[0-9]{1,40}", version)
    ident = f"id: {version}\n" if known else ""
    return f"{ident}data: {json.dumps(row)}\n\n".encode()


def event_of_message(text: str) -> bytes:
    """The event for what was published; ValueError for what is no change: anyone may publish."""
    try:
        message = json.loads(text)
        row, version = message["row"], message["version"]
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"not a change: {error!r}") from None
    if not isinstance(row, dict | None):
        raise ValueError("not a change: the row is no object")  # noqa: TRY004
    return event(row, version)
