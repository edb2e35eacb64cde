"""Signals: where observers attach from outside, so that the path of a change knows none of them."""

import logging
from collections.abc import Callable
from threading import Lock
from typing import Generic, ParamSpec

__all__ = ["Signal"]

log = logging.getLogger(__name__)

P = ParamSpec("P")


class Signal(Generic[P]):
    """Something that happens again and again; false while nobody subscribes.

    Sending to no subscriber costs a look at an empty tuple.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._subscribers: tuple[Callable[P, None], ...] = ()

    def subscribe(self, subscriber: Callable[P, None]) -> Callable[[], None]:
        """Call `subscriber` each time, on the sender's thread; return a function that ends it."""
        with self._lock:
            self._subscribers += (subscriber,)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)

        return unsubscribe

    def __bool__(self) -> bool:
        return bool(self._subscribers)

    def __call__(self, *what: P.args, **named: P.kwargs) -> None:
        """Tell all subscribers; one that fails does not keep it from the others."""
        for subscriber in self._subscribers:
            try:
                subscriber(*what, **named)
            except Exception:
                log.exception("a subscriber failed")
