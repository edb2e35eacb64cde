"""The background thread that carries changes from a feed to the cache.

    with Listener(feed, cache) as listener:
        ...

It is a state machine that anyone may watch:

    connecting -> listening -> catching up -> live    the leader
                  listening -> standby -> ...         another one leads; when it ends, this one does
    live -> degraded -> live                          Redis does not answer; the batch is kept
    ... -> stopped                                    asked to, or by an error: `check()` raises it

A lost connection is made again, after 0.1 s to 2 s with full jitter.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Self
from weakref import WeakValueDictionary

import psycopg
import redis
from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from reactive_demo.cache import Cache, Deposed
from reactive_demo.changes import Batch
from reactive_demo.errors import ReactiveDemoError, first_line
from reactive_demo.feeds import Feed, NotCapturedError, Session
from reactive_demo.state import State
from reactive_demo.stats import Stats, Tally
from reactive_demo.stopping import StopEvent
from reactive_demo.trace import Carried, Tap, writes
from reactive_demo.writer import Writer

__all__ = ["Listener", "State", "Stats"]

log = logging.getLogger(__name__)

STANDBY_POLL = 1.0
"""Seconds between a standby's attempts to lead."""

WAITS = "another listener leads"
RESTS = "a newer listener took over; start this one again to lead"

DEPOSED_PAUSE = 0.1
"""Seconds before who was refused leads again: two that know Redis by different names take turns."""

STOP_TIMEOUT = 0.2
"""Seconds that `stop()` waits for the thread; one that hangs in a connect ends on its own."""


class Listener:
    """A thread that writes what `feed` tells into `cache`.

    At most one listener leads for a kind of feed, a table and a cache; others stand by. With
    `takeover=True` the newest leads: it replaces one in this process and deposes one elsewhere, so
    that running a notebook's cell again leaves one listener, not two. One that was started so and
    is deposed does not lead again: in a notebook whose listener is stopped, nothing should move
    because another notebook is still open.
    """

    def __init__(self, feed: Feed, cache: Cache, *, takeover: bool = False) -> None:
        self.feed = feed
        self.cache = cache
        self._takeover = takeover
        self._claim: int | None = None
        self._role = f"reactive_demo lead {feed.kind} {feed.table} {cache.name}"
        self._stopping = StopEvent()
        self._changed = threading.Condition()
        self._state = State.CONNECTING
        self._reason = ""
        self._tally = Tally()
        self._writer = Writer(cache)
        self._live_since = 0.0
        self.heard: Tap[[Sequence[psycopg.Notify]]] = Tap()
        self.carried: Tap[[Carried]] = Tap()
        self._error: Exception | None = None
        self._observers: list[Callable[[str], None]] = []
        self._thread = threading.Thread(target=self._run, name="reactive_demo listen", daemon=True)
        self._retry = Retrying(
            retry=retry_if_exception(_passes),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_when_event_set(self._stopping),
            sleep=sleep_using_event(self._stopping),
            before_sleep=self._note_failure,
        )
        self._retry_put = self._retry.copy()  # one such object counts one operation's attempts

    @property
    def state(self) -> State:
        """What it is doing now."""
        return self._state

    @property
    def stats(self) -> Stats:
        """What it has done so far."""
        return self._tally.stats

    @property
    def aside(self) -> MappingProxyType[str, str]:
        """The keys whose rows PostgreSQL cannot show or Redis will not take, and the reasons."""
        return self._writer.aside

    @property
    def words(self) -> str:
        """The state and its reason, for people."""
        return f"{self._state}: {self._reason}" if self._reason else str(self._state)

    def start(self) -> "Listener":
        """Start the thread; the listener itself, so that a notebook needs one line."""
        if self._takeover:
            if (previous := _leaders.get(self._role)) not in (None, self):
                previous._end()  # noqa: SLF001  (one of us)
            _leaders[self._role] = self
        self._thread.start()
        return self

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Stop the thread, within 0.3 s; raise what ended it before, if anything did."""
        self._end()
        self.check()

    def wait_until(self, state: State | str, timeout: float = 10) -> None:
        """Wait for `state`, at most `timeout` seconds; raise if it does not come."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._state in (state, State.STOPPED) or self._error, timeout
            )
            self.check()
            if self._state != state:
                raise ReactiveDemoError(
                    f"The listener is not {state} after {timeout:g} s, it is {self.words}."
                )

    def observe(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call `callback(words)` now and at each change of state; the way to end that.

        The calls come from the listener's thread: return fast.
        """
        with self._changed:
            callback(self.words)
            self._observers.append(callback)

        def end() -> None:
            with self._changed, suppress(ValueError):
                self._observers.remove(callback)

        return end

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._end()
        if error is None:
            self.check()

    def __repr__(self) -> str:
        return f"Listener({self.feed!r}, {self.words})"

    # The thread

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._retry(self._connect_and_follow)
                if not self._stopping.is_set():
                    self._tally.count(reconnects=1)
        except RetryError:
            pass  # stopped while it tried again
        except Exception as error:
            log.exception("the listener ended")
            self._error = error
            self._become(State.STOPPED, f"{type(error).__name__}: {error}")
        else:
            self._become(State.STOPPED)

    def _connect_and_follow(self) -> None:
        """Open a session and follow it until it is lost or the listener stops."""
        self._become(State.CONNECTING)
        with self.feed.open() as session:
            self._become(State.LISTENING)
            try:
                self._await_lead(session)
                self._follow(session)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                log.info("connection lost: %s", error)
            except Deposed as error:
                log.info("look again: %s", error)
                self._stopping.wait(DEPOSED_PAUSE)

    def _await_lead(self, session: Session) -> None:
        """Stand by until no other listener leads; the newest does not wait."""
        if self._takeover:
            self._claim = self.cache.claim(self.feed.kind)
            self._takeover = False  # whoever is deposed stands by and does not strike back
            session.depose(self._role)
        while not self._stopping.is_set():
            rests = self._claim is not None and self.cache.newest(self.feed.kind) > self._claim
            if not rests and session.lead(self._role):
                return
            self._become(State.STANDBY, RESTS if rests else WAITS)
            session.pass_over(self._stopping, STANDBY_POLL)

    def _follow(self, session: Session) -> None:
        """Write what the session tells, each batch before the next is asked for."""
        session.onlooker = self.heard
        caught_up, first = True, True
        self._live_since = time.time()
        for batch in session.batches(self.cache, self._stopping):
            if self._stopping.is_set():
                return
            if batch.state is not State.LIVE:
                self._become(batch.state, batch.note)
            missed = bool(first and batch.changes) or batch.state is State.CATCHING_UP
            if missed and caught_up:
                self._tally.count(catch_ups=1)
            caught_up, first = batch.state is State.LIVE, False
            if batch.changes or batch.position or batch.unreadable:
                self._write(batch)
            self._become(batch.state, batch.note)  # live is who has written all there was

    def _write(self, batch: Batch) -> None:
        heard_at = time.time()
        changed_at = batch.changed_at
        if batch.position is None:  # a notification does not say
            keys = [change.key for change in batch.changes]
            changed_at = writes.heard(self.feed.table, keys, self._live_since)
        received = batch.received or len(batch.changes) + len(batch.unread)
        self._tally.count(received=received, unreadable=batch.unreadable)
        done = self._retry_put(self._writer.write, batch)
        applied_at = time.time()
        if done.newer:
            self._tally.time(changed_at, heard_at, applied_at)
        refused = len(batch.changes) + len(batch.unread) - done.newer - done.aside
        self._tally.count(applied=done.newer, refused=refused, set_aside=done.aside)
        if self.carried and batch.changes:
            self.carried(Carried(batch, done.newer, changed_at, heard_at, applied_at))

    def _note_failure(self, attempt: RetryCallState) -> None:
        """Say which server does not answer, before the next attempt."""
        error = attempt.outcome.exception() if attempt.outcome else None
        if isinstance(error, redis.RedisError):
            self._become(State.DEGRADED, f"Redis does not answer ({first_line(error)})")
        elif isinstance(error, NotCapturedError):
            self._become(State.CONNECTING, str(error))
        else:
            self._become(State.CONNECTING, f"PostgreSQL does not answer ({first_line(error)})")
        log.info("%s", self.words)

    # What others see

    def _become(self, state: State, reason: str = "") -> None:
        with self._changed:
            late = self._stopping.is_set() and state is not State.STOPPED
            if late or (state, reason) == (self._state, self._reason):
                return
            self._state, self._reason = state, reason
            self._changed.notify_all()
            for observer in list(self._observers):
                try:
                    observer(self.words)
                except Exception:
                    log.exception("an observer failed")

    def _end(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT)
        if self._error is None:
            self._become(State.STOPPED)


_LOST = (
    psycopg.OperationalError,
    redis.ConnectionError,
    redis.TimeoutError,
    redis.OutOfMemoryError,
    redis.ReadOnlyError,
    NotCapturedError,
)
_REFUSES = ("MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN")
"""How Redis begins when it takes no write for now: its disk is full, or its replicas are away."""


def _passes(error: BaseException) -> bool:
    """Whether it does when a server is back, or the table captured; else it ends the thread."""
    refuses = isinstance(error, redis.ResponseError) and str(error).startswith(_REFUSES)
    return refuses or isinstance(error, _LOST)


_leaders: WeakValueDictionary[str, Listener] = WeakValueDictionary()
"""The newest listener of each role in this process."""
