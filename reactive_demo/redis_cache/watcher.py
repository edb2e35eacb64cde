"""The watcher: one thread that follows the cached rows for all its subscribers.

Redis Pub/Sub loses messages, as NOTIFY does: a subscriber that is away hears nothing. So the
watcher subscribes first and then reads; it reads again after each (re)subscription, and all keys
in one round trip every few seconds. In between it sends nothing.

A message only says where to look: anyone may publish, and the databases of one Redis share their
channels, so it may tell of another database's row. An account without rights to the channels
hears nothing, and its watcher polls.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.client import PubSub

from reactive_demo.errors import ReactiveDemoError, first_line
from reactive_demo.exact_json import parse_row
from reactive_demo.redis_cache.client import subscribing

__all__ = ["Subscription", "Watcher"]

log = logging.getLogger(__name__)

Row = dict[str, Any] | None

TICK = 0.05
"""Seconds until the thread looks for new subscriptions: redis-py's PubSub is for one thread."""

MAX_MESSAGES = 500
"""Messages taken in a row, before other duties have their turn."""

RETRY = 0.5
"""Seconds between two attempts to reach Redis."""

_UNREAD: Any = object()

_UNREADABLE = (ValueError, TypeError, KeyError, RecursionError)
"""What parsing raises for text that is not ours."""


class Subscription:
    """A callback that follows one key until it is closed."""

    def __init__(self, watcher: "Watcher", channel: str, callback: Callable[[Row], None]) -> None:
        self.channel = channel
        self._watcher = watcher
        self._callback = callback
        self._seen: Row = _UNREAD

    def close(self) -> None:
        """Stop following; safe to call twice."""
        self._watcher.unsubscribe(self)

    def tell(self, row: Row) -> None:
        """Pass `row` on, if it differs from the last."""
        if self._seen is _UNREAD or self._seen != row:
            self._seen = row
            try:
                self._callback(row)
            except Exception:
                log.exception("the callback of %s failed", self.channel)


class Watcher:
    """Follows keys of one Redis for any number of subscriptions, in one thread.

    `read` returns the JSON text of each of some Redis keys; every `poll_interval` seconds it is
    asked for all that are watched.
    """

    def __init__(
        self,
        redis_url: str,
        read: Callable[[Sequence[str]], Sequence[str | None]],
        *,
        poll_interval: float,
    ) -> None:
        self._redis_url = redis_url
        self._read = read
        self._poll_interval = poll_interval
        # Reentrant: a closed label is closed once more by the garbage collector, at any moment.
        self._lock = threading.RLock()
        self._subscriptions: list[Subscription] = []
        self._unread: set[str] = set()
        self._thread: threading.Thread | None = None
        self._complaint = ""

    def subscribe(self, channel: str, callback: Callable[[Row], None]) -> Subscription:
        """Follow `channel`, the key of that name included, from the next tick on."""
        subscription = Subscription(self, channel, callback)
        with self._lock:
            self._subscriptions.append(subscription)
            self._unread.add(channel)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="reactive_demo watch", daemon=True
                )
                self._thread.start()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop telling `subscription`; the thread ends with the last one."""
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

    # The thread

    def _run(self) -> None:
        while self._channels():
            try:
                try:
                    with subscribing(self._redis_url) as pubsub:
                        self._follow(pubsub)
                except redis.exceptions.NoPermissionError as error:
                    self._complain("the watcher polls, since it may not subscribe", error)
                    self._poll()
            except Exception as error:  # noqa: BLE001  (dead, it would leave every label stale)
                self._complain("the watcher tries again", error)
                time.sleep(RETRY)

    def _complain(self, what: str, error: Exception) -> None:
        """Log what is wrong, once for as long as it lasts; with a traceback if it is a bug."""
        complaint = f"{what}: {type(error).__name__}: {first_line(error)}"
        if complaint != self._complaint:
            expected = isinstance(error, redis.RedisError | ReactiveDemoError | OSError)
            log.warning("%s", complaint, exc_info=None if expected else error)
        self._complaint = complaint

    def _channels(self) -> set[str]:
        """Return what to follow. Nothing ends the thread; the next subscription starts another."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return set()
            channels = {subscription.channel for subscription in self._subscriptions}
            if not channels:
                self._thread = None
            return channels

    def _follow(self, pubsub: PubSub) -> None:
        """Subscribe, read, pass on, until nobody follows any more or Redis is lost."""
        followed: set[str] = set()
        next_poll = time.monotonic() + self._poll_interval
        while channels := self._channels():
            if channels - followed:
                pubsub.subscribe(*channels - followed)
            if followed - channels:
                pubsub.unsubscribe(*followed - channels)
            followed = channels
            self._hear(pubsub)
            if time.monotonic() >= next_poll:
                self._unread |= followed
                next_poll = time.monotonic() + self._poll_interval
            self._catch_up(followed)

    def _hear(self, pubsub: PubSub) -> None:
        """Take the messages that are there, or wait a tick for the first."""
        message = pubsub.get_message(timeout=TICK)
        for _ in range(MAX_MESSAGES):
            if message is None:
                return
            self._heard(message)
            message = pubsub.get_message(timeout=0)
        if message is not None:
            self._heard(message)

    def _heard(self, message: dict[str, Any]) -> None:
        # One about a subscription comes the first time, and again after a reconnect.
        if message["type"] in ("message", "subscribe"):
            self._unread.add(message["channel"])
            self._complaint = ""

    def _poll(self) -> None:
        """Read all keys, and those that come new, for as long as a poll may take."""
        self._unread |= self._channels()
        end = time.monotonic() + self._poll_interval
        while (channels := self._channels()) and time.monotonic() < end:
            self._catch_up(channels)
            time.sleep(TICK)

    def _catch_up(self, followed: set[str]) -> None:
        """Read the keys that may have changed unheard, in one round trip."""
        with self._lock:
            keys = sorted(self._unread & followed)
            self._unread -= set(keys)
        texts = self._read(keys) if keys else []
        for key, text in zip(keys, texts, strict=True):
            try:
                row = None if text is None else parse_row(text)
            except _UNREADABLE as error:
                log.warning("%s holds no row: %r", key, error)
            else:
                self._tell(key, row)

    def _tell(self, channel: str, row: Row) -> None:
        with self._lock:
            told = [one for one in self._subscriptions if one.channel == channel]
        for subscription in told:
            subscription.tell(row)
