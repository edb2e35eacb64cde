"""Reactive caching with PostgreSQL: the app writes the database, and the cache follows.

The folders are the path of a change, in order:

    app           writes the database, once
    capture       makes the database record and announce each change (sql/)
    feeds         tell what changed
    listener      the thread that carries it to the cache
    redis_cache   Redis, and everything that reads it
    screen        labels that follow the cache

Beside the path: `sinks` are brokers that a listener feeds in place of a cache, `servers` runs the
embedded servers, `tools` looks after a pipeline,
and `tutorial` contains what only the notebooks need. Only this module and the command line know
`tutorial`. Names that need an extra are imported when they are first used.
"""

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

from reactive_demo.app.profiles import Profiles
from reactive_demo.app.transaction import Transaction
from reactive_demo.capture.install import install, read_sql, uninstall
from reactive_demo.changes import State
from reactive_demo.errors import (
    ConfigurationError,
    LockTimeoutError,
    NotCapturedError,
    ReactiveDemoError,
    RefusedError,
    UnavailableError,
)
from reactive_demo.extras import naming_the_extra
from reactive_demo.feeds import ChangeTableFeed, LogFeed, NotifyFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.listener.stats import Stats
from reactive_demo.options import Options
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.read_through import ReadThrough
from reactive_demo.servers import Stack, connect

__all__ = [  # what a base install can import; the names in _LATER are public too
    "Cache",
    "ChangeTableFeed",
    "ConfigurationError",
    "Listener",
    "LockTimeoutError",
    "LogFeed",
    "NotCapturedError",
    "NotifyFeed",
    "Options",
    "Profiles",
    "ReactiveDemoError",
    "ReadThrough",
    "RefusedError",
    "Stack",
    "State",
    "Stats",
    "Transaction",
    "UnavailableError",
    "connect",
    "install",
    "read_sql",
    "uninstall",
]

_LATER = {
    "AppWindows": "tutorial.widgets",
    "BurstButton": "tutorial.widgets",
    "FaultBoard": "tutorial.faults.board",
    "FaultLab": "tutorial.faults",
    "FlowView": "tutorial.widgets",
    "KafkaSink": "sinks.kafka",
    "KeepInView": "tutorial.widgets",
    "LiveLabel": "screen.label",
    "ProfileApp": "tutorial.web",
    "ProfileCard": "tutorial.widgets",
    "RabbitSink": "sinks.rabbitmq",
    "RowGrid": "screen.grid",
    "Windows": "tutorial.widgets",
    "set_stage": "tutorial.chapter_setup",
}
"""Public names that need an extra, or that only notebooks use: where to import them from."""

__path__.append(str(Path(__file__).parent / "_moved"))  # former addresses of modules

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with naming_the_extra(f"`reactive_demo.{name}` needs"):
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
