"""The statements in this folder's SQL files, by name: each begins with a line `-- name: NAME`."""

import re
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["query"]


def query(name: str) -> Any:
    """Return the text of a statement, without its comments.

    It is Any because psycopg wants a literal, and ours are in files.
    """
    return _queries()[name]


@cache
def _queries() -> dict[str, str]:
    folder = files(__package__)
    names = ("catalog.sql", "queries.sql", "log.sql")
    texts = [(folder / name).read_text("utf-8") for name in names]
    _, *parts = re.split(r"^-- name: (\w+)$", "\n".join(texts), flags=re.MULTILINE)
    bodies = (re.sub(r"^--.*\n", "", part, flags=re.MULTILINE).strip() for part in parts[1::2])
    return dict(zip(parts[::2], bodies, strict=True))
