"""What changed: one `Change` per key, decoded and conflated. Pure functions, no I/O."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Change", "conflate", "decode"]


@dataclass(frozen=True, slots=True)
class Change:
    """How one key looks after a change."""

    key: str
    """The primary key of the row."""
    row: dict[str, Any] | None
    """The row's columns; None for a deleted row."""
    version: int | None = None
    """Newer changes of a key have greater versions; None if the feed knows of none."""


def decode(payload: str, key_column: str) -> Change:
    """Read a notification of `sql/03_notify.sql`.

    Raises ValueError for a payload that is not one: anyone who may connect may NOTIFY.
    """
    try:
        message = json.loads(payload)
        operation, row = message["operation"], message["row"]
        key = row[key_column]
        # Python reads what no cache can hold: NaN, half of a surrogate pair.
        json.dumps(row, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"not a change: {error!r}") from None
    if not isinstance(key, str):
        raise ValueError(f"not a change: the key {key!r} is no text")  # noqa: TRY004
    return Change(key, None if operation == "DELETE" else row)


def conflate(changes: Iterable[Change]) -> list[Change]:
    """Only the last change of each key: a cache keeps state, not history."""
    return list({change.key: change for change in changes}.values())
