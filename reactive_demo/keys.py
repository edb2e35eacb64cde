"""Primary keys, as callers write them and as the database records them. No I/O."""

import json
from datetime import date, datetime
from uuid import UUID

__all__ = ["Key", "key_text"]

Part = str | int | UUID | date
"""The value of a key's column."""

Key = Part | tuple[Part, ...] | list[Part]
"""A primary key as callers write it: of several columns, a tuple or a list in their order."""


def key_text(key: Key) -> str:
    """Return the primary key as text, as `reactive.key_expression` in `sql/04_table.sql` makes it.

    Raises TypeError for a type whose text depends on the column, rather than miss the row.
    """
    if not (isinstance(key, tuple | list) and key):
        part = _part(key)
        return part if isinstance(part, str) else json.dumps(part)
    return key_text(key[0]) if len(key) == 1 else json.dumps([*map(_part, key)], ensure_ascii=False)


def _part(value: object) -> str | int:
    """Return what JSON has for the value of a key's column."""
    if isinstance(value, str | int):
        return value
    if isinstance(value, UUID | date) and not isinstance(value, datetime):
        return str(value)
    raise TypeError(
        f"{value!r} cannot be a key or a part of one: pass text, a whole number, a bool, a UUID or "
        "a date, or the whole key as the text that Cache.scan() yields."
    )
