"""What a request asks for: a name, a counter. No I/O."""

from collections.abc import Mapping, Sequence

from reactive_demo.app.profiles import COUNTERS

__all__ = ["LONGEST_NAME", "QueryError", "counter_of", "username_of"]

LONGEST_NAME = 50
"""Characters in a username."""

ACTIONS = {f"inc_{counter}": counter for counter in COUNTERS}

Arguments = Mapping[str, Sequence[bytes]]
"""The query of a URL: each name with its values, as they came."""


class QueryError(ValueError):
    """What is wrong with the request, for who sent it."""


def username_of(arguments: Arguments) -> str:
    """The argument `username`, checked."""
    return checked_name(_only(arguments, "username"))


def counter_of(arguments: Arguments) -> str:
    """The counter that the argument `action` increments."""
    counter = ACTIONS.get(_only(arguments, "action"))
    if counter is None:
        raise QueryError(f"There is no such action: it is one of {', '.join(ACTIONS)}.")
    return counter


def checked_name(name: str) -> str:
    """`name`, if a profile may have it."""
    if not 1 <= len(name) <= LONGEST_NAME:
        raise QueryError(
            f"A username has 1 to {LONGEST_NAME} characters, and this has {len(name)}."
        )
    if "\0" in name:
        raise QueryError("A username has no NUL character: PostgreSQL cannot keep it.")
    return name


def _only(arguments: Arguments, name: str) -> str:
    values = arguments.get(name, [])
    if len(values) != 1:
        raise QueryError(
            f"Give {name} once in the query, as in ?{name}=...; it is there {len(values)} times."
        )
    try:
        return values[0].decode()
    except UnicodeDecodeError:
        raise QueryError(f"{name} is not UTF-8.") from None
