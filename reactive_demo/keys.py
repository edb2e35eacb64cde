"""Primary keys, as callers write them and as the database records them. No I/O."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

__all__ = ["Key", "key_text", "without_trailing_zeros"]

Part = str | int | Decimal | UUID | date | time | bytes
"""The value of a key's column, as psycopg returns it; a datetime is a date."""

Key = Part | tuple[Part, ...] | list[Part]
"""A primary key as callers write it: of several columns, a tuple or a list in their order."""


def key_text(key: Key) -> str:
    """Return the primary key as text, as `reactive.key_expression` in `sql/04_table.sql` makes it.

    Raises TypeError for a type whose text depends on the column, rather than miss the row.
    """
    if not (isinstance(key, tuple | list) and key):
        return _text(key)
    return _text(key[0]) if len(key) == 1 else f"[{', '.join(map(_json, key))}]"


def without_trailing_zeros(number: str) -> str:
    """Return a decimal number without the zeros that end its fraction: 5.00 and 5 are equal."""
    return number.rstrip("0").rstrip(".") if "." in number else number


def _json(value: object) -> str:
    """Return what JSON has for the value of a key's column."""
    is_number = isinstance(value, int) or (isinstance(value, Decimal) and value.is_finite())
    text = _text(value)
    return text if is_number else json.dumps(text, ensure_ascii=False)


def _text(value: object) -> str:
    """Return the value of a key's column as text."""
    match value:
        case str():
            text = value
        case int():
            text = json.dumps(value)
        case Decimal():
            text = without_trailing_zeros(f"{value:f}") if value else "0"
        case datetime(tzinfo=None):
            text = without_trailing_zeros(value.isoformat(" "))
        case datetime():
            text = f"{_text(value.astimezone(UTC).replace(tzinfo=None))}+00"
        case time(tzinfo=None):
            text = without_trailing_zeros(value.isoformat())
        case UUID() | date():
            text = str(value)
        case bytes():
            text = f"\\x{value.hex()}"
        case _:
            raise TypeError(
                f"{value!r} cannot be a key or a part of one: pass text, a whole number, a bool, a "
                "Decimal, a UUID, a date, a time, bytes, or the whole key as the text that "
                "Cache.scan() yields."
            )
    return text
