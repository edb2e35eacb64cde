"""The wire as text: what the listener heard, what it told Redis, what widgets were sent. No I/O."""

import json
from collections.abc import Sequence
from typing import Any

import psycopg

from reactive_demo.changes import Change
from reactive_demo.listener.listener import Applied

__all__ = ["Line", "applied_line", "heard_line", "painted_line"]

MAX_WIDTH = 240
"""Characters in a line."""

Line = dict[str, str]
"""`from` names the speaker, `text` is what was said."""


def heard_line(notifications: Sequence[psycopg.Notify]) -> Line:
    """Show the last of the notifications that came in together."""
    if not notifications:
        return _line("PostgreSQL", "no NOTIFY: the listener was awake, and read by itself")
    last, more = notifications[-1], _more(len(notifications), "notification")
    return _line("PostgreSQL", f"NOTIFY {last.channel} {last.payload or '(empty)'}", more)


def applied_line(applied: Applied, table: str) -> Line:
    """Show the command that the listener sent for a batch."""
    return _line("listener", *_command(applied, table))


def painted_line(label: str, value: object, count: int = 1) -> Line:
    """Show the last of the messages that set the values of labels."""
    message = {"method": "update", "state": {"value": value}}
    return _line("kernel", f"{_json(message)} to {label}", _more(count, "message"))


def _command(applied: Applied, table: str) -> tuple[str, str]:
    """Return the last row's part of the command, and how many rows come before it."""
    change, more = applied.batch.changes[-1], _more(len(applied.batch.changes), "row")
    key = f"{table}:{change.key}"
    if isinstance(change, Change):
        row = "" if change.row is None else f" HSET {key} row {_json(change.row)}"
        return f"MULTI DEL {key}{row} PUBLISH {key} {{…}} EXEC", more
    row = "(deleted)" if change.row is None else change.row
    return f"EVALSHA apply.lua {key} version {change.version} row {row}", more


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _more(count: int, noun: str) -> str:
    return f" (and {noun}s before it: {count - 1:,})" if count > 1 else ""


def _line(who: str, text: str, more: str = "") -> Line:
    room = MAX_WIDTH - len(more)
    if len(text) > room:
        text = f"{text[: room - 1]}…"
    return {"from": who, "text": text + more}
