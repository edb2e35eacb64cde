"""What a request asks for: a username, a counter. No I/O."""

from collections.abc import Mapping, Sequence

from reactive_demo.app.profiles import COUNTERS

__all__ = ["MAX_NAME_LENGTH", "QueryError", "checked_name", "counter_of", "usernames_of"]

MAX_NAME_LENGTH = 50
"""Characters in a username."""

MAX_NAMES = 50
"""Profiles on one stream."""

ACTIONS = {f"inc_{counter}": counter for counter in COUNTERS}

Arguments = Mapping[str, Sequence[bytes]]
"""The query of a URL: each name with its values, still encoded."""


class QueryError(ValueError):
    """What is wrong with the request, in words for the client."""


def usernames_of(arguments: Arguments) -> list[str]:
    """Return the values of the argument `username`, checked, each once."""
    values = arguments.get("username", [])
    if len(values) > MAX_NAMES:
        raise QueryError(f"A stream has at most {MAX_NAMES} profiles, and this has {len(values)}.")
    if not values:
        raise QueryError("Give username once or more in the query, as in ?username=...")
    return list(dict.fromkeys(checked_name(_decoded("username", value)) for value in values))


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
    return _decoded(name, values[0])


def _decoded(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise QueryError(f"{name} is not UTF-8.") from None
