"""Who watches the cache: one thread in a process, for all its labels.

Redis Pub/Sub loses messages, as NOTIFY does: whoever is away does not hear. So the watcher
subscribes first and reads then; it reads again after each (re)subscription, and all keys in one
command every 5 s. In between it sends nothing.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import redis
from redis.client import PubSub

from reactive_demo.redis_client import open_redis

__all__ = ["Subscription", "Watcher"]

log = logging.getLogger(__name__)

Row = dict[str, Any] | None

POLL = 5.0
"""Seconds between two readings of all watched keys."""

TICK = 0.05
"""Seconds until the thread looks for new subscriptions: redis-py's PubSub is for one thread."""

PORTION = 500
"""Messages after which other duties have their turn."""

RETRY = 0.5
"""Seconds between two attempts to reach Redis."""

READ = """
local rows = {}
for i, key in ipairs(KEYS) do
    local row = redis.pcall('HGET', key, 'row')
    rows[i] = type(row) == 'string' and row  -- no hash holds no row
end
return rows
"""

_UNREAD: Any = object()

_UNREADABLE = (ValueError, TypeError, KeyError, RecursionError)
"""What reading raises of text that is not ours."""


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
        """Pass `row` on, if it is another than the last."""
        if self._seen is _UNREAD or self._seen != row:
            self._seen = row
            try:
                self._callback(row)
            except Exception:
                log.exception("the callback of %s failed", self.channel)


class Watcher:
    """Follows keys of one Redis for any number of subscriptions, in one thread."""

    def __init__(self, redis_url: str) -> None:
        self._redis = open_redis(redis_url)
        self._read = self._redis.register_script(READ)
        # Reentrant: a closed label is closed once more by the garbage collector, at any moment.
        self._lock = threading.RLock()
        self._subscriptions: list[Subscription] = []
        self._unread: set[str] = set()
        self._thread: threading.Thread | None = None

    @staticmethod
    def shared(redis_url: str) -> "Watcher":
        """Return this process's watcher of `redis_url`."""
        with _shared_lock:
            watcher = _shared.get(redis_url)
            if watcher is None:
                watcher = _shared[redis_url] = Watcher(redis_url)
            return watcher

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
                with self._redis.pubsub() as pubsub:
                    self._follow(pubsub)
            except redis.RedisError as error:
                log.info("Redis does not answer: %s", error)
                time.sleep(RETRY)
            except Exception:  # a watcher that died would leave every label stale
                log.exception("the watcher failed, and starts again")
                time.sleep(RETRY)

    def _channels(self) -> set[str]:
        """What to follow; nothing ends the thread, and the next subscription starts another."""
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
        next_poll = time.monotonic() + POLL
        while channels := self._channels():
            if channels - followed:
                pubsub.subscribe(*channels - followed)
            if followed - channels:
                pubsub.unsubscribe(*followed - channels)
            followed = channels
            self._hear(pubsub)
            if time.monotonic() >= next_poll:
                self._unread |= followed
                next_poll = time.monotonic() + POLL
            self._catch_up(followed)

    def _hear(self, pubsub: PubSub) -> None:
        """Take the messages that are there, or the first within a tick; a flood in portions."""
        message = pubsub.get_message(timeout=TICK)
        for _ in range(PORTION):
            if message is None:
                return
            self._heard(message)
            message = pubsub.get_message(timeout=0)
        if message is not None:
            self._heard(message)

    def _heard(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            try:
                row = json.loads(message["data"])["row"]
            except _UNREADABLE:  # anyone may publish
                self._unread.add(message["channel"])
            else:
                self._tell(message["channel"], row)
        elif message["type"] == "subscribe":  # the first time, and again after a reconnect
            self._unread.add(message["channel"])

    def _catch_up(self, followed: set[str]) -> None:
        """Read the keys that may have changed unheard, in one command."""
        with self._lock:
            keys = sorted(self._unread & followed)
            self._unread -= set(keys)
        texts: Any = self._read(keys=keys) if keys else []
        for key, text in zip(keys, texts, strict=True):
            try:
                row = None if text is None else json.loads(text)
            except _UNREADABLE as error:
                log.warning("%s holds no row: %r", key, error)
            else:
                self._tell(key, row)

    def _tell(self, channel: str, row: Row) -> None:
        with self._lock:
            told = [one for one in self._subscriptions if one.channel == channel]
        for subscription in told:
            subscription.tell(row)


_shared: WeakValueDictionary[str, Watcher] = WeakValueDictionary()
_shared_lock = threading.Lock()
