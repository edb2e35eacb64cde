"""Where one may look on while a change passes, and when the writes of this process began.

    wrote                 the app wrote the database (Profiles)
    Listener.heard        the listener was told something by NOTIFY
    Listener.carried      the listener carried a batch into the cache
    painted               the painter changed an attribute of a widget

Nobody looks, as a rule; then this costs a look at an empty tuple. Moments are seconds since the
epoch.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Generic, ParamSpec

from reactive_demo.changes import Batch

__all__ = ["Carried", "Tap", "painted", "writes", "wrote"]

log = logging.getLogger(__name__)

KEPT = 1_000
"""Keys whose writes are remembered until they are heard of."""

KEPT_OF_KEY = 20
"""Writes of one key that are remembered."""

LOST = 5.0
"""Seconds after which a write that was not heard of is not waited for any more."""

P = ParamSpec("P")


class Tap(Generic[P]):
    """A place on the way where one may look on: false while nobody does."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._onlookers: tuple[Callable[P, None], ...] = ()

    def watch(self, onlooker: Callable[P, None]) -> Callable[[], None]:
        """Call `onlooker` for all that passes, from whatever thread: return fast. How to end it."""
        with self._lock:
            self._onlookers += (onlooker,)

        def end() -> None:
            with self._lock:
                self._onlookers = tuple(one for one in self._onlookers if one is not onlooker)

        return end

    def __bool__(self) -> bool:
        return bool(self._onlookers)

    def __call__(self, *what: P.args, **named: P.kwargs) -> None:
        """Tell all who look."""
        for onlooker in self._onlookers:
            try:
                onlooker(*what, **named)
            except Exception:
                log.exception("an onlooker failed")


@dataclass(frozen=True, slots=True)
class Carried:
    """A batch that has been carried into the cache."""

    batch: Batch
    newer: int
    """How many of its changes were newer than what the cache held."""
    changed_at: float | None
    """When its oldest change was made; None where that is not known."""
    heard_at: float
    applied_at: float


@dataclass(slots=True)
class Write:
    """A write of this process, under way or done."""

    begun: float
    done: bool = False


class Writes:
    """When the writes of this process began, of those that nobody has heard yet.

    A notification does not say when its change was made. A write of this process is known from its
    call on; from its return on would be too late, since the listener often hears before that.
    """

    def __init__(self) -> None:
        self._unheard: dict[tuple[str, str], list[Write]] = {}
        self._lock = Lock()

    @contextmanager
    def writing(self, table: str, key: str) -> Iterator[None]:
        """Write this key in the block."""
        write = Write(time.time())
        with self._lock:
            of_key = self._unheard.setdefault((table, key), [])
            of_key.append(write)
            del of_key[:-KEPT_OF_KEY]
            if len(self._unheard) > KEPT:
                del self._unheard[next(iter(self._unheard))]
        try:
            yield
        except BaseException:
            with self._lock, suppress(ValueError):
                of_key.remove(write)
            raise
        write.done = True
        if wrote:
            wrote(table, key, write.begun, time.time())

    def heard(self, table: str, keys: Iterable[str], since: float = 0) -> float | None:
        """When the oldest write to `keys` began, if not before `since`; it is forgotten now.

        So are those that are done: they are heard together, or in a moment.
        """
        oldest = None
        since = max(since, time.time() - LOST)
        with self._lock:
            for key in keys:
                of_key = self._unheard.pop((table, key), [])
                fresh = [write for write in of_key if write.begun > since]
                if fresh and (oldest is None or fresh[0].begun < oldest):
                    oldest = fresh[0].begun
                if left := [write for write in fresh[1:] if not write.done]:
                    self._unheard[table, key] = left
        return oldest


writes = Writes()

wrote: Tap[[str, str, float, float]] = Tap()
"""Told of each write of this process: table, key, when it began and when it was done."""

painted: Tap[[object, str, object]] = Tap()
"""Told of each attribute that the painter has changed: widget, name, value."""
