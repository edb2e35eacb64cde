"""A row as a server-sent event. No I/O.

`data` is the row's JSON as the cache holds it, on one line, `null` if there is none; `id` is its
version. A stream of several profiles names each event after its profile. Each event carries the
whole state, so a client that reconnects needs only the latest event, whatever its Last-Event-ID.
(Skipping events with a version the client has seen would be wrong after a restore, when versions
start over.)

Rows are passed on as text and never written anew: a number keeps all its digits, and `1e400`, which
Python would turn into `Infinity`, stays JSON.
"""

import json
import re
from typing import NoReturn
from urllib.parse import quote

__all__ = ["HEARTBEAT", "OPENING", "event", "named", "row_text", "with_version"]

OPENING = b"retry: 1000\n\n"
"""Tells the browser to wait 1,000 ms before it reconnects."""

HEARTBEAT = b": heartbeat\n\n"
"""A comment, which browsers ignore; it keeps proxies from closing a silent connection."""


def row_text(text: str | None) -> str | None:
    """Return a row's JSON text on one line, or None if `text` is not the JSON of an object."""
    if text is None:
        return None
    try:
        # Numbers are checked and not converted: Python's integers have a limit of 4,300 digits.
        row = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    # Inside a string, JSON has no raw line breaks.
    return re.sub("[\r\n]", " ", text).strip() if isinstance(row, dict) else None


def with_version(row: str, version: str | None) -> str:
    """Return the row's text with the field `version` at the end."""
    body = row[:-1].rstrip()
    comma = "" if body == "{" else ", "
    return f'{body}{comma}"version": {json.dumps(version)}}}'


def event(row: str | None, version: str | None) -> bytes:
    """Return the event for a row's text; it has no `id` if the version is unknown."""
    known = version is not None and re.fullmatch("[0-9]{1,40}", version)
    ident = f"id: {version}\n" if known else ""
    return f"{ident}data: {row or 'null'}\n\n".encode()


def named(channel: str, event: bytes) -> bytes:
    """Return the event with the name of its channel, as JavaScript's encodeURIComponent has it.

    It always has an `id`, if an empty one: a browser would take that of another profile's event.
    """
    ident = b"" if event.startswith(b"id: ") else b"id:\n"
    return b"event: %s\n%s%s" % (quote(channel, safe="!'()*").encode(), ident, event)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
