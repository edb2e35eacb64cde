"""The lab: the article's pipeline and the durable one, side by side, with a monitor for both."""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from reactive_demo.errors import ConfigurationError
from reactive_demo.postgres import PatientConnection, open_postgres
from reactive_demo.servers import Stack
from reactive_demo.tutorial.chapter_setup import drop_database, fresh_database
from reactive_demo.tutorial.faults.pipeline import Pipeline
from reactive_demo.tutorial.faults.servers import Servers
from reactive_demo.tutorial.reruns import close_previous

__all__ = ["FaultLab"]

log = logging.getLogger(__name__)

POLL = 0.05
"""Seconds between two looks at the caches."""

DATABASE = "reactive_demo_faults"

FEEDS = ("change table", "log")


class FaultLab:
    """Two pipelines, each with a table of its own, that get the same writes; ends with `close()`.

    It starts servers of its own. Given a `stack`, it works in a database and under keys of its own
    there, and faults that would harm other users of those servers raise ReactiveDemoError unless
    it `may_harm`. The durable pipeline reads the change table, or with `feed="log"` the log. A
    process has one lab, the newest.
    """

    def __init__(
        self,
        stack: Stack | None = None,
        *,
        may_harm: bool = False,
        feed: str = "change table",
    ) -> None:
        if feed not in FEEDS:
            raise ConfigurationError(f"There is no feed {feed!r}: use one of {', '.join(FEEDS)}.")
        self.feed = feed
        """The durable one: `change table` or `log`."""
        self._stack = stack
        self._may_harm = may_harm
        self._closing = threading.Event()
        self._undo = ExitStack()
        self.pipelines: list[Pipeline] = []
        """The article's and the durable one, once the lab is started."""
        self._observers: list[Callable[[], None]] = []
        self.busy = threading.Lock()
        """Held while a fault is under way."""

    def start(self) -> Self:
        """Start servers and pipelines; return the lab itself, so that a notebook needs one line."""
        close_previous("fault lab", self)
        self.close()  # a cell may be run again
        self.pipelines.clear()
        self._closing.clear()
        with ExitStack() as undo:
            self.servers = (
                Servers.own()
                if self._stack is None
                else Servers(self._stack, may_harm=self._may_harm)
            )
            undo.callback(self.servers.close)
            self.database_url = url = fresh_database(self.servers.stack, DATABASE)
            if not self.servers.are_own:
                undo.callback(drop_database, self.servers.stack, DATABASE)
            for name in ("article", "durable"):
                pipeline = Pipeline(url, self.servers.redis_url, name, self.feed)
                undo.callback(pipeline.close)
                self.pipelines.append(pipeline.start())
            self.article, self.durable = self.pipelines
            self._monitor = threading.Thread(
                target=self._watch, name="reactive_demo look", daemon=True
            )
            self._monitor.start()
            undo.callback(self._stop_monitor)
            self._undo = undo.pop_all()
        return self

    def close(self) -> None:
        """Stop the pipelines, and the servers if they are its own; safe to call twice.

        Raises what ended a listener, if anything did.
        """
        self._undo.close()

    def check(self) -> None:
        """Raise what ended a listener, if anything did."""
        for pipeline in self.pipelines:
            pipeline.listener.check()

    def connect(self) -> PatientConnection:
        """Return a connection for the application, which uses none of the pipelines' wires."""
        return open_postgres(self.database_url, "lab")

    def write(self) -> None:
        """Give each profile a like, in both tables."""
        with self.connect() as connection:
            for pipeline in self.pipelines:
                pipeline.write(connection)

    def observe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback()` after each look, on the lab's thread; return how to end that."""
        self._observers.append(callback)
        return lambda: self._observers.remove(callback) if callback in self._observers else None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "FaultLab(the article's pipeline, the durable one)"

    def _watch(self) -> None:
        while not self._closing.wait(POLL):
            try:
                for pipeline in self.pipelines:
                    pipeline.look()
                for observer in list(self._observers):
                    observer()
            except Exception:
                log.exception("the lab's monitor failed")

    def _stop_monitor(self) -> None:
        self._closing.set()
        self._monitor.join(5)
