"""Reactive caching with PostgreSQL: the app writes the database, and the cache follows.

A change's way through the package:

    profiles          the app writes the database, once
    sql/              the database announces the change
    changes, feeds    the change, as it is heard
    listener, writer  the thread that carries it
    cache, watcher    Redis, and who is told when it changes
    painter, views    the screen
    trace, stats      beside the way: who passes, and how long each hop takes
    web               the same as a web app
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reactive_demo.cache import Cache
    from reactive_demo.errors import ReactiveDemoError
    from reactive_demo.faults import FaultLab
    from reactive_demo.faults.board import FaultBoard
    from reactive_demo.feeds import ChangeTableFeed, NotifyFeed
    from reactive_demo.listener import Listener
    from reactive_demo.profiles import Profiles
    from reactive_demo.read_through import ReadThrough
    from reactive_demo.schema import install, read_sql, uninstall
    from reactive_demo.stack import Stack, connect
    from reactive_demo.stage import set_stage
    from reactive_demo.views import (
        AppWindows,
        BurstButton,
        FlowView,
        LiveLabel,
        ProfileCard,
        Windows,
    )
    from reactive_demo.web import ProfileApp

__all__ = [
    "AppWindows",
    "BurstButton",
    "Cache",
    "ChangeTableFeed",
    "FaultBoard",
    "FaultLab",
    "FlowView",
    "Listener",
    "LiveLabel",
    "NotifyFeed",
    "ProfileApp",
    "ProfileCard",
    "Profiles",
    "ReactiveDemoError",
    "ReadThrough",
    "Stack",
    "Windows",
    "connect",
    "install",
    "read_sql",
    "set_stage",
    "uninstall",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())

_MODULES = {
    "cache": ["Cache"],
    "errors": ["ReactiveDemoError"],
    "faults": ["FaultLab"],
    "faults.board": ["FaultBoard"],
    "feeds": ["ChangeTableFeed", "NotifyFeed"],
    "listener": ["Listener"],
    "profiles": ["Profiles"],
    "read_through": ["ReadThrough"],
    "schema": ["install", "read_sql", "uninstall"],
    "stack": ["Stack", "connect"],
    "stage": ["set_stage"],
    "views": ["AppWindows", "BurstButton", "FlowView", "LiveLabel", "ProfileCard", "Windows"],
    "web": ["ProfileApp"],
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: the keepers start without the widgets."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
