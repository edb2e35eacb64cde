"""Notifications that carry a row, decoded and conflated. No I/O."""

from collections.abc import Iterable
from decimal import Decimal

from reactive_demo.changes import Change
from reactive_demo.exact_json import dump_row, parse

__all__ = ["conflate", "decode"]

LATEST = 1e12
"""A moment so far off, in seconds since the epoch, that no clock is wrong by so much."""


def decode(payload: str, key_column: str) -> Change:
    """Read a notification of `sql/03_notify.sql`.

    Raises ValueError for a payload that is not one: anyone who may connect may NOTIFY.
    """
    try:
        message = parse(payload)
        operation, row = message["operation"], message["row"]
        key = row[key_column]
        changed_at = message.get("changed_at")
        dump_row(row).encode()  # Python accepts what no cache can hold: half of a surrogate pair
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a change: {error!r}") from None
    if not isinstance(key, str):
        raise ValueError(f"not a change: the key {key!r} is not text")  # noqa: TRY004
    if changed_at is not None and not _is_moment(changed_at):
        raise ValueError("not a change: changed_at is no number of seconds")
    moment = None if changed_at is None else float(changed_at)
    return Change(key, None if operation == "DELETE" else row, moment)


def _is_moment(value: object) -> bool:
    """Return whether `value` can be calculated with: JSON has numbers of any size."""
    return isinstance(value, int | float | Decimal) and -LATEST < value < LATEST


def conflate(changes: Iterable[Change]) -> list[Change]:
    """Keep only the last change of each key: a cache holds state, not history."""
    return list({change.key: change for change in changes}.values())
