"""A row as a server-sent event. No I/O.

`data` is the row as JSON on one line, `null` if there is none; `id` is its version. Each event
carries the whole state, so a client that reconnects needs only the latest event, whatever its
Last-Event-ID. (Skipping events with a version the client has seen would be wrong after a restore,
when versions start over.)
"""

import json
import re
from typing import Any

__all__ = ["HEARTBEAT", "OPENING", "event", "event_of_message"]

OPENING = b"retry: 1000\n\n"
"""Tells the browser to wait 1,000 ms before it reconnects."""

HEARTBEAT = b": heartbeat\n\n"
"""A comment, which browsers ignore; it keeps proxies from closing a silent connection."""


def event(row: dict[str, Any] | None, version: object) -> bytes:
    """Return the event for a row; it has no `id` if the version is unknown."""
    known = isinstance(version, str) and re.fullmatch("[0-9]{1,40}", version)
    ident = f"id: {version}\n" if known else ""
    return f"{ident}data: {json.dumps(row)}\n\n".encode()


def event_of_message(text: str) -> bytes:
    """Return the event for a message that was published on a row's channel.

    Raises ValueError for a message that is not a change: any client may publish.
    """
    try:
        message = json.loads(text)
        row, version = message["row"], message["version"]
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"not a change: {error!r}") from None
    if not isinstance(row, dict | None):
        raise ValueError("not a change: the row is not an object")  # noqa: TRY004
    return event(row, version)
