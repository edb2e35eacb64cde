"""Reactive caching with PostgreSQL: the app writes the database, and the cache follows.

The folders are the path of a change, in order:

    app           writes the database, once
    capture       makes the database record and announce each change (sql/)
    feeds         tell what changed
    listener      the thread that carries it to the cache
    redis_cache   Redis, and everything that reads it
    screen        labels that follow the cache

Beside the path: `servers` runs the embedded PostgreSQL and Valkey, `tools` looks after a pipeline,
and `tutorial` holds what only the notebooks need. Only this module and the command line know
`tutorial`; names that need Jupyter are imported when they are first used.
"""

import logging
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from reactive_demo.app.profiles import Profiles
from reactive_demo.capture.install import install, read_sql, uninstall
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.feeds import ChangeTableFeed, NotifyFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.read_through import ReadThrough
from reactive_demo.servers import Stack, connect

_LATER = {
    "reactive_demo.screen.label": ["LiveLabel"],
    "reactive_demo.tutorial.chapter_setup": ["set_stage"],
    "reactive_demo.tutorial.faults": ["FaultLab"],
    "reactive_demo.tutorial.faults.board": ["FaultBoard"],
    "reactive_demo.tutorial.web": ["ProfileApp"],
    "reactive_demo.tutorial.widgets": [
        *("AppWindows", "BurstButton", "FlowView", "ProfileCard", "Windows"),
    ],
}
"""Names that need more than the base install: where to import them from."""

__all__ = [  # noqa: PLE0604  (the rest are names too)
    "Cache",
    "ChangeTableFeed",
    "Listener",
    "NotifyFeed",
    "Profiles",
    "ReactiveDemoError",
    "ReadThrough",
    "Stack",
    "connect",
    "install",
    "read_sql",
    "uninstall",
    *chain.from_iterable(_LATER.values()),
]

__path__.append(str(Path(__file__).parent / "_moved"))  # former addresses of modules

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
