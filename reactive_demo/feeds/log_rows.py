"""Rows and keys as the log has them, in the words of JSON that PostgreSQL would use. No I/O.

The log brings each value as its type's text. For well-known types, `row_to_json` makes JSON of
that text by simple rules, which are here; a row with any other value is looked up in the table.
"""

import re
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring as quote

from reactive_demo.feeds.pgoutput import UNCHANGED, Tuple
from reactive_demo.feeds.table import CapturedTable, Column
from reactive_demo.keys import without_trailing_zeros

__all__ = ["Layout"]

# `quote` makes JSON of a string: PostgreSQL and Python escape the same characters in the same way.

Encode = Callable[[str], str]

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def number(text: str) -> str:
    """Return a number; what JSON has none for, such as NaN, is a string."""
    return text if NUMBER.fullmatch(text) else quote(text)


def same(text: str) -> str:
    """Return what is JSON already."""
    return text


def boolean(text: str) -> str:
    """Return a truth value."""
    return "true" if text == "t" else "false"


def moment(text: str) -> str:
    """Return a date and time as ISO 8601 has it; `infinity` has no blank."""
    return quote(text.replace(" ", "T", 1))


def zoned_moment(text: str) -> str:
    """Return the same with its zone, which is UTC."""
    return moment(text.replace("+00", "+00:00"))


def unpadded(text: str) -> str:
    """Return a character(n) as its cast to text has it."""
    return quote(text.rstrip(" "))


INTEGERS = ("smallint", "integer", "bigint")
TEXTS = ("text", "character varying", "uuid", "date", "bytea")
OTHER_TEXTS = (
    *("character", "name", "interval", "time without time zone", "time with time zone"),
    *("inet", "cidr", "macaddr", "bpchar"),
)

AS_JSON: dict[str, Encode] = {
    **dict.fromkeys(INTEGERS, same),
    **dict.fromkeys(("real", "double precision", "numeric"), number),
    **dict.fromkeys(("json", "jsonb"), same),
    **dict.fromkeys((*TEXTS, *OTHER_TEXTS), quote),
    "boolean": boolean,
    "timestamp without time zone": moment,
    "timestamp with time zone": zoned_moment,
}
"""How a value of each type looks in `row_to_json`."""

AS_KEY: dict[str, Encode] = {
    **dict.fromkeys(INTEGERS, same),
    **dict.fromkeys(TEXTS, quote),
    **dict.fromkeys(("timestamp without time zone", "timestamp with time zone"), quote),
    **dict.fromkeys(("character", "bpchar"), unpadded),
    "numeric": lambda text: number(without_trailing_zeros(text)),
    "boolean": boolean,
}
"""How it looks in the key of several columns (`reactive.key_expression`)."""

AS_ONLY_KEY: dict[str, Encode] = {
    **dict.fromkeys(AS_KEY, same),
    **dict.fromkeys(("character", "bpchar"), lambda text: text.rstrip(" ")),
    "numeric": without_trailing_zeros,
    "boolean": boolean,
}
"""How it looks as the only column of a key."""


class Layout:
    """How to read the values of a table's changes, once its columns are known."""

    def __init__(self, table: CapturedTable, columns: Sequence[str]) -> None:
        places = {name: place for place, name in enumerate(columns)}
        self._keys = [places[_bare(column.name)] for column in table.key_columns]
        rules = AS_KEY if len(self._keys) > 1 else AS_ONLY_KEY
        self._key_rules = _rules(rules, table.key_columns)
        names = [_bare(column.name) for column in table.columns]
        row_rules = _rules(AS_JSON, table.columns)
        self._row_rules: list[tuple[int, Encode | None]] | None = None
        if row_rules is not None and all(name in places for name in names):
            self._row_rules = [
                (places[name], None if rule is same else rule)
                for name, rule in zip(names, row_rules, strict=True)
            ]
            fields = (quote(name).replace("%", "%%") + ":%s" for name in names)
            self._template = "{" + ",".join(fields) + "}"

    def row(self, values: Tuple) -> str | None:
        """Return a row as JSON text; None if it must be looked up."""
        if self._row_rules is None:
            return None
        parts = []
        for place, rule in self._row_rules:
            value = values[place]
            if value is None:
                parts.append("null")
            elif value is UNCHANGED:
                return None
            else:
                parts.append(rule(value) if rule else value)
        return self._template % tuple(parts)

    def key_values(self, values: Tuple, old: Tuple | None) -> list[str]:
        """Return the values of the key's columns."""
        found = []
        for place in self._keys:
            value = values[place]
            if value is UNCHANGED and old is not None:
                value = old[place]
            if not isinstance(value, str):
                raise ValueError("a key without a value")  # noqa: TRY004
            found.append(value)
        return found

    def key(self, values: Sequence[str]) -> str | None:
        """Return the key as text; None if PostgreSQL must be asked how it looks."""
        if self._key_rules is None:
            return None
        if len(values) == 1:
            return self._key_rules[0](values[0])
        parts = (rule(value) for rule, value in zip(self._key_rules, values, strict=True))
        return "[" + ", ".join(parts) + "]"


def _rules(rules: dict[str, Encode], columns: Sequence[Column]) -> list[Encode] | None:
    """Return the rule for each column; None if there is none for one of them."""
    found = [
        quote
        if column.how == "text" and rules is AS_JSON
        else rules.get(column.base_type)
        if column.how == "bare"
        else None
        for column in columns
    ]
    known = [rule for rule in found if rule is not None]
    return known if len(known) == len(found) else None


def _bare(quoted: str) -> str:
    """Return a column's name as it is, from how SQL writes it."""
    return quoted[1:-1].replace('""', '"') if quoted.startswith('"') else quoted
