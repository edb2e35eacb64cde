"""What a request asks for: a username, a counter. No I/O."""

from collections.abc import Mapping, Sequence

from reactive_demo.app.profiles import COUNTERS

__all__ = ["MAX_NAME_LENGTH", "QueryError", "checked_name", "counter_of", "username_of"]

MAX_NAME_LENGTH = 50
"""Characters in a username."""

ACTIONS = {f"inc_{counter}": counter for counter in COUNTERS}

Arguments = Mapping[str, Sequence[bytes]]
"""The query of a URL: each name with its values, still encoded."""


class QueryError(ValueError):
    """What is wrong with the request, in words for the client."""


def username_of(arguments: Arguments) -> str:
    """Return the argument `username`, checked."""
    return checked_name(_only(arguments, "username"))


def counter_of(arguments: Arguments) -> str:
    """Return the counter that the argument `action` increments."""
    counter = ACTIONS.get(_only(arguments, "action"))
    if counter is None:
        raise QueryError(f"There is no such action: it is one of {', '.join(ACTIONS)}.")
    return counter


def checked_name(name: str) -> str:
    """Return `name`, or raise QueryError if no profile can have it."""
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise QueryError(
            f"A username has 1 to {MAX_NAME_LENGTH} characters, and this has {len(name)}."
        )
    if "\0" in name:
        raise QueryError("A username has no NUL character: PostgreSQL cannot store one.")
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
