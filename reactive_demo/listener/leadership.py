"""Leadership: which listener may write the cache.

At most one listener leads for each kind of feed, table and cache. Three things see to it, each for
a failure of its own; `docs/architecture.md` has the whole protocol.

    an advisory lock in PostgreSQL    one leader a database; it goes with the connection, however
                                      that ends, so a dead leader needs no time-out
    the fencing token in Redis        a leader that was cut off and comes back writes nothing: each
                                      batch shows the newest token, and follows its predecessor
    the term in Redis                 of listeners started with takeover=True, the newest leads and
                                      the others stop
"""

from contextlib import suppress

import psycopg
from psycopg import sql

from reactive_demo.changes import Lease
from reactive_demo.feeds import Feed, Session
from reactive_demo.redis_cache.cache import Cache

__all__ = ["Leadership"]

PREEMPT_ATTEMPTS = 10
"""How often a listener tries to preempt the leader before it stands by like others."""


class Leadership:
    """One listener's campaign for the lead; with `takeover` it is the newest, and preempts."""

    def __init__(self, feed: Feed, cache: Cache, *, takeover: bool) -> None:
        self._cache = cache
        self._kind = feed.kind
        self.role = f"reactive_demo lead {feed.kind} {feed.table} {cache.name}"
        """What the advisory lock is named after."""
        self._takeover = takeover
        self._term: int | None = None

    def open_term(self, session: Session) -> None:
        """With `takeover`, once: become the newest, and preempt the leader."""
        if self._takeover:
            self._term = self._cache.open_term(self._kind)
            self._takeover = False  # a listener that is preempted later does not strike back
            self._preempt(session.connection)

    @property
    def is_superseded(self) -> bool:
        """Whether a newer listener was started with `takeover`, and this one was too."""
        return self._term is not None and self._cache.current_term(self._kind) > self._term

    def try_lead(self, session: Session) -> bool:
        """Take the advisory lock, if it is free."""
        row = session.connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [self.role]
        ).fetchone()
        return bool(row and row[0])

    def acquire_lease(self, session: Session) -> Lease | None:
        """Take the lease that goes with the lead; a feed without cursors needs none.

        If the cache's cursor cannot be followed, the lease is of a new epoch and has none: then
        the cache must be filled.
        """
        incarnation = session.incarnation()
        if incarnation is None:
            return None
        lease = self._cache.acquire_lease(incarnation)
        if lease.cursor is not None and session.can_resume(lease.cursor):
            return lease
        return self._cache.acquire_lease(incarnation, new_epoch=True)

    def _preempt(self, connection: "psycopg.Connection[object]") -> None:
        """Terminate the backend that leads, and be next in its queue.

        The old leader reconnects immediately and must not find the lock free, so terminate it and
        queue for its lock in one message; again, if that was too late all the same.
        """
        statements = sql.SQL(PREEMPT).format(role=sql.Literal(self.role))
        for _ in range(PREEMPT_ATTEMPTS):
            with suppress(psycopg.errors.LockNotAvailable), connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '500ms'")
                connection.execute(statements)
                return


PREEMPT = """
    SELECT pg_terminate_backend(pid)
    FROM pg_locks, hashtextextended({role}, 0) AS key
    WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND objsubid = 1
      AND (classid::bigint << 32 | objid::bigint) = key;
    SELECT pg_advisory_lock(hashtextextended({role}, 0))
"""
