"""Reactive caching with PostgreSQL: the app writes the database, and the cache follows.

A change's way through the package:

    profiles          the app writes the database, once
    sql/              the database announces the change
    changes, feeds    the change, as it is heard
    listener          the thread that carries it
    cache, watcher    Redis, and who is told when it changes
    painter, views    the screen
"""

import logging

from reactive_demo.cache import Cache
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.feeds import NotifyFeed
from reactive_demo.listener import Listener
from reactive_demo.profiles import Profiles
from reactive_demo.schema import install, read_sql, uninstall
from reactive_demo.stack import Stack, connect
from reactive_demo.stage import set_stage
from reactive_demo.views import BurstButton, LiveLabel, ProfileCard, Windows

__all__ = [
    "BurstButton",
    "Cache",
    "Listener",
    "LiveLabel",
    "NotifyFeed",
    "ProfileCard",
    "Profiles",
    "ReactiveDemoError",
    "Stack",
    "Windows",
    "connect",
    "install",
    "read_sql",
    "set_stage",
    "uninstall",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
