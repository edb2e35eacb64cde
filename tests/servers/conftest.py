"""Homes: folders with servers of a test's own, which stop by themselves while others are tested."""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.homes import Home

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def homes() -> Path:
    """The folder of all homes; it lies in this run's, in which nothing may run at the end."""
    folder = Path(os.environ["REACTIVE_DEMO_HOME"]).parent / "homes"
    folder.mkdir(mode=0o711)
    return folder


@pytest.fixture
def home(homes: Path) -> Iterator[Home]:
    """A home, not yet made."""
    home = Home(homes / str(next(_numbers)))
    yield home
    for user in home.users:
        user.end()


@pytest.fixture(scope="session")
def old_data(homes: Path) -> Path:
    """The home of servers that have run and stopped."""
    home = Home(homes / "old")
    with home.connect():
        home.stop()
    return home.path


@pytest.fixture
def used_home(home: Home, old_data: Path) -> Home:
    """A home with data in it; its servers do not run."""
    shutil.copytree(old_data, home.path)
    home.path.chmod(0o700)
    return home
