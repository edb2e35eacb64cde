"""What a test needs of the machine: it is skipped without, and fails where CI asks for it."""

import os
import shutil
from typing import NoReturn

import pytest

__all__ = ["missing", "required"]


def required(name: str, *aliases: str) -> str:
    """The path of a program."""
    path = next(filter(None, map(shutil.which, (name, *aliases))), None)
    if path is None:
        missing(name, f"there is no {name} on this machine: install it to run this test")
    return path


def missing(name: str, message: str) -> NoReturn:
    """Skip the test, or fail it if REACTIVE_DEMO_REQUIRE lists `name`."""
    if name in os.environ.get("REACTIVE_DEMO_REQUIRE", "").split(","):
        pytest.fail(message)
    pytest.skip(message)
