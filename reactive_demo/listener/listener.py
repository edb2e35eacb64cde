"""The background thread that carries changes from a feed to the cache.

    with Listener(feed, cache) as listener:
        ...

It is a state machine that anyone may watch:

    connecting -> listening -> catching up -> live    the leader
                  listening -> standby -> ...         another one leads; when it ends, this one does
    live -> degraded -> live                          Redis does not answer; the batch is kept
    ... -> stopped                                    asked to, superseded, or by an error

Whatever a server reports is tried again, with growing back-off, the reason and a count in
`status_text`; only a wrong URL or a bug ends the thread, and then `check()` raises it.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Self

import psycopg
import redis

from reactive_demo.changes import Batch, Lease, State
from reactive_demo.errors import ReactiveDemoError, first_line, may_pass
from reactive_demo.feeds import Feed, Session
from reactive_demo.listener.health import CacheHealth
from reactive_demo.listener.leadership import Leadership
from reactive_demo.listener.quarantine import Outcome, Quarantine
from reactive_demo.listener.stats import Recorder, Stats
from reactive_demo.listener.status import Status
from reactive_demo.signals import Signal
from reactive_demo.sinks import Sink
from reactive_demo.waiting import StopEvent

__all__ = ["Applied", "Listener"]

log = logging.getLogger(__name__)

MIN_BACKOFF = 0.1
"""Seconds that the first back-off takes at most; doubled each time, up to `Options.max_backoff`."""

STOP_TIMEOUT = 0.2
"""Seconds that `stop()` waits for the thread; one that hangs in a connect ends on its own."""

SUPERSEDED = "a newer listener took over; start this one again to lead"


@dataclass(frozen=True, slots=True)
class Applied:
    """A batch that is in the cache. Moments are seconds since the epoch."""

    batch: Batch
    newer: int
    """How many of its changes were newer than what the cache held."""
    heard_at: float
    applied_at: float


class Listener:
    """A thread that writes what `feed` tells into `cache`.

    At most one listener with a durable feed leads for a table and a cache; others stand by. With
    `takeover=True` the newest leads: it preempts the leader, and one that was itself started so
    stops. So running a notebook's cell again leaves one listener, not two, and in a notebook whose
    listener is stopped, nothing moves because another notebook is still open.

    A cache that another database wrote a moment ago, or that has followed this one to a later
    timeline, is left alone; with `whatever_database=True` it is filled from this one.
    """

    def __init__(
        self,
        feed: Feed,
        cache: Sink,
        *,
        takeover: bool = False,
        whatever_database: bool = False,
    ) -> None:
        self.feed = feed
        self.cache = cache
        self.heard: Signal[[Sequence[psycopg.Notify]]] = Signal()
        """Sent with the notifications that came in together."""
        self.applied: Signal[[Applied]] = Signal()
        """Sent with each batch that is in the cache."""
        self._leadership = Leadership(
            feed, cache, takeover=takeover, whatever_database=whatever_database
        )
        self._quarantine = Quarantine(cache)
        self._recorder = Recorder()
        self._stopping = StopEvent()
        self._status = Status()
        self._health = CacheHealth(cache, self._recorder)
        self._error: Exception | None = None
        self._live_since = math.inf
        self._thread = threading.Thread(target=self._run, name="reactive_demo listen", daemon=True)

    @property
    def state(self) -> State:
        """What it is doing now."""
        return self._status.state

    @property
    def stats(self) -> Stats:
        """What it has done so far."""
        return self._recorder.stats

    @property
    def quarantine(self) -> MappingProxyType[str, str]:
        """The keys whose rows PostgreSQL cannot show or Redis will not take, and the reasons."""
        return self._quarantine.reasons

    @property
    def status_text(self) -> str:
        """The state and its reason, for people."""
        return self._status.text

    words = status_text  # former names
    aside = quarantine

    def start(self) -> "Listener":
        """Start the thread; return the listener itself, so that a notebook needs one line."""
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
        """Wait for `state`.

        Raises ReactiveDemoError if it does not come within `timeout` seconds, and what ended the
        thread if that came first.
        """
        reached = self._status.wait_for(state, timeout)
        self.check()
        if not reached:
            raise ReactiveDemoError(
                f"The listener is not {state} after {timeout:g} s, it is {self.status_text}."
            )

    def observe(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call `callback(status_text)` now and at each change; return a function that ends it.

        The calls come from the listener's thread: return fast.
        """
        return self._status.observe(callback)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._end()
        if error is None:
            self.check()

    def __repr__(self) -> str:
        return f"Listener({self.feed!r}, {self.status_text})"

    # The thread

    def _run(self) -> None:
        failures = 0
        try:
            while not self._stopping.is_set():
                self._live_since = math.inf
                try:
                    self._connect_and_follow()
                except Exception as error:
                    if not may_pass(error):
                        raise
                    lived = time.monotonic() - self._live_since
                    failures = 1 if lived > self.feed.options.max_backoff else failures + 1
                    self._note_failure(error, failures)
                    self._back_off(failures)
                if not self._stopping.is_set():
                    self._recorder.count(reconnects=1)
        except Exception as error:
            log.exception("the listener ended")
            self._error = error
            self._become(State.STOPPED, f"{type(error).__name__}: {error}")
        else:
            self._become(State.STOPPED)

    def _connect_and_follow(self) -> None:
        """Open a session and follow it until it is lost or the listener stops."""
        if self.state is not State.CONNECTING:  # else it says why it tries again
            self._become(State.CONNECTING)
        with self.feed.open() as session:
            self._become(State.LISTENING)
            if self._await_lead(session):
                self._follow(session, self._leadership.acquire_lease(session))

    def _await_lead(self, session: Session) -> bool:
        """Stand by until no other listener leads; return False if it never will."""
        self._leadership.open_term(session)
        while not self._stopping.is_set():
            if self._leadership.is_superseded:
                self._become(State.STOPPED, SUPERSEDED)
                self._stopping.set()
            elif not (reason := self._leadership.try_lead(session)):
                return True
            else:
                self._become(State.STANDBY, reason)
                session.drain(self._stopping, self.feed.options.standby_poll)
        return False

    def _follow(self, session: Session, lease: Lease | None) -> None:
        """Write what the session tells; of a backlog, one batch while the next is read."""
        session.on_notify = self.heard
        caught_up, first = True, True
        with ExitStack() as under_way:
            for batch in self._health.batches(session, lease, self._stopping):
                under_way.close()
                if self._stopping.is_set():
                    return
                if batch.state is not State.LIVE:
                    self._become(batch.state, batch.progress)
                missed = bool(first and batch.changes) or batch.state is State.CATCHING_UP
                if missed and caught_up:
                    self._recorder.count(catch_ups=1)
                caught_up, first = batch.state is State.LIVE, False
                if not batch.is_empty:
                    under_way.callback(self._begin(batch, lease))
                    lease = lease and replace(lease, sequence=lease.sequence + 1)
                if not batch.may_overlap:
                    under_way.close()
                leads = lease is not None or self._leadership.holds(session)
                if not (leads or self._await_lead(session)):
                    return
                self._recorder.retained_log = session.retained_log
                # Live is one who has written all there was.
                self._become(batch.state, batch.progress or self._health.notice)
                if batch.state is State.LIVE:
                    self._live_since = min(self._live_since, time.monotonic())

    def _begin(self, batch: Batch, lease: Lease | None) -> Callable[[], None]:
        """Send the batch, if it may overlap; return what completes the write."""
        heard_at, unannounced = time.time(), self.cache.unannounced
        self._recorder.count(received=batch.received or batch.rows, undecodable=batch.undecodable)
        finish: Callable[[], Outcome]
        finish = write = partial(self._quarantine.write, batch, lease)
        if lease is not None and batch.may_overlap:
            finish = self._quarantine.begin(batch, lease)

        def complete() -> None:
            outcome = self._until_taken(finish, write)
            applied_at = time.time()
            if outcome.newer:
                self._health.note_unannounced(self.cache.unannounced - unannounced)
                self._recorder.time(batch.changed_at, heard_at, applied_at)
            refused = batch.rows - outcome.newer - outcome.quarantined
            self._recorder.count(
                applied=outcome.newer, refused=refused, quarantined=outcome.quarantined
            )
            if self.applied and batch.changes:
                self.applied(Applied(batch, outcome.newer, heard_at, applied_at))

        return complete

    def _until_taken(self, attempt: Callable[[], Outcome], again: Callable[[], Outcome]) -> Outcome:
        """Write a batch; while Redis does not take it, keep it and try again."""
        failures = 0
        while True:
            try:
                return attempt()
            except redis.RedisError as error:
                failures += 1
                self._note_failure(error, failures)
                self._back_off(failures)
                if self._stopping.is_set():
                    raise
                attempt = again

    def _back_off(self, failures: int) -> None:
        """Wait before the next attempt, with full jitter; `stop()` ends it."""
        longest = min(self.feed.options.max_backoff, MIN_BACKOFF * 2 ** min(failures, 20))
        self._stopping.wait(random.uniform(longest / 4, longest))  # noqa: S311

    def _note_failure(self, error: Exception, failures: int) -> None:
        """Say what went wrong before the next attempt, and at how many in a row."""
        state, reason = State.CONNECTING, str(error)
        if isinstance(error, redis.RedisError):
            state, reason = State.DEGRADED, f"Redis does not answer ({first_line(error)})"
            if isinstance(error, redis.ResponseError):
                reason = self._health.missing_rights() or f"Redis refuses ({first_line(error)})"
        elif isinstance(error, psycopg.Error):
            reason = f"PostgreSQL does not answer ({first_line(error)})"
        elif not isinstance(error, ReactiveDemoError):
            reason = f"{type(error).__name__}: {error}"
        self._become(state, f"{reason}; attempt {failures}" if failures > 1 else reason)
        log.info("%s", self.status_text)

    def _become(self, state: State, reason: str = "") -> None:
        if state is State.STOPPED or not self._stopping.is_set():
            self._status.become(state, reason)

    def _end(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT)
        if self._error is None:
            self._become(State.STOPPED)
