"""Rows as JSON, both ways, with all digits of their numbers."""

import json
import re
import uuid
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

__all__ = ["dump_row", "parse", "parse_row"]

MAX_DIGITS = 4_300
"""Python reads no integer of more digits, because that takes long."""


def parse_row(text: str) -> dict[str, Any]:
    """Read a cached row; a number that a float does not hold exactly is a Decimal.

    Raises ValueError, or RecursionError, for text that is no JSON object.
    """
    row = parse(text)
    if not isinstance(row, dict):
        raise ValueError("no row")  # noqa: TRY004  (what JSON says is a value)
    return row


def dump_row(row: dict[str, Any] | None) -> str:
    """Return a row as JSON, each Decimal with all its digits; `null` for None."""
    numbers: list[str] = []
    mark = uuid.uuid4().hex  # json writes no number but its own

    def replace(value: object) -> str:
        if not isinstance(value, Decimal) or not value.is_finite():
            raise TypeError(f"{value!r} is no JSON")
        numbers.append(str(value))
        return mark

    text = json.dumps(row, default=replace, allow_nan=False, ensure_ascii=False)
    return re.sub(f'"{mark}"', lambda _: numbers.pop(0), text) if numbers else text


def parse(text: str) -> Any:
    """Read any JSON; a number that a float does not hold exactly is a Decimal."""
    return json.loads(text, parse_float=_number, parse_int=_integer, parse_constant=_no_number)


def _number(text: str) -> float | Decimal:
    number = float(text)
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"the number {text} is too large") from None
    return number if Decimal(repr(number)) == exact else exact


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= MAX_DIGITS else Decimal(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")
