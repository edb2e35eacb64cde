"""Four ways to keep a cache beside a database, behind one small interface.

    write-through   the app writes both, one after the other
    write-behind    the app writes the cache and leaves a message; a consumer writes the database
    cache-aside     the app writes the database and drops the copy; the next reader fills it again
    reactive        the app writes the database, once; the database announces the change

Each has `write(username, counter)`, which adds one to a counter of a profile, and
`read(username)`, which returns what a reader is shown.

    strategy        the interface
    rows            what the app writes to the database
    copies          what the app itself writes to the cache
    consumer        the thread that brings write-behind's messages to the database
"""

from reactive_demo.tutorial.strategies.cache_aside import CacheAside
from reactive_demo.tutorial.strategies.consumer import Consumer
from reactive_demo.tutorial.strategies.reactive import Reactive
from reactive_demo.tutorial.strategies.strategy import Strategy
from reactive_demo.tutorial.strategies.write_behind import WriteBehind
from reactive_demo.tutorial.strategies.write_through import WriteThrough

__all__ = ["CacheAside", "Consumer", "Reactive", "Strategy", "WriteBehind", "WriteThrough"]
