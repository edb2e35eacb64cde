"""Leadership: which listener may write the cache.

Of listeners with a durable feed, whichever it is, one leads for each table and cache. Three things
see to it, each for a failure of its own; `docs/architecture.md` has the whole protocol.

    an advisory lock in PostgreSQL    one leader a database; it goes with the connection, however
                                      that ends, so a dead leader needs no time-out
    the fencing token in Redis        a leader that was cut off and comes back writes nothing: each
                                      batch shows the newest token, and follows its predecessor
    the term in Redis                 of listeners started with takeover=True, the newest leads and
                                      the others stop
"""

import logging
import time
from contextlib import suppress

import psycopg
import redis
from psycopg import sql

from reactive_demo.changes import Lease
from reactive_demo.feeds import Feed, Session
from reactive_demo.sinks import Sink

__all__ = ["Leadership"]

log = logging.getLogger(__name__)

PREEMPT_ATTEMPTS = 10
"""How often a listener tries to preempt the leader before it stands by like others."""


class Leadership:
    """One listener's campaign for the lead; with `takeover` it is the newest, and preempts.

    With `whatever_database`, the cache may have followed another database until now.
    """

    def __init__(
        self, feed: Feed, cache: Sink, *, takeover: bool, whatever_database: bool = False
    ) -> None:
        self._cache = cache
        self._whatever_database = whatever_database
        self._kind = feed.leads_as
        self._table = feed.table
        self._lock = sql.Literal(self.role)
        self._takeover = takeover
        self._term: int | None = None
        self._ask_at = 0.0

    @property
    def role(self) -> str:
        """What a slot is named after: the cache by its address."""
        return self._named(self._cache.name)

    @property
    def lock(self) -> str:
        """What the advisory lock is named after: the cache by what it tells of itself."""
        return self._named(self._cache.identity)

    def _named(self, cache: str) -> str:
        return f"reactive_demo lead {self._kind} {self._table} {cache} {self._cache.table}"

    def open_term(self, session: Session) -> None:
        """Find the lock. With `takeover`, once: become the newest, and preempt the leader."""
        self._lock = sql.Literal(self.lock)  # anew: a Redis that was emptied tells something else
        if self._takeover:
            self._term = self._cache.leaders.open_term(self._kind)
            self._takeover = False  # a listener that is preempted later does not strike back
            self._preempt(session.connection)

    @property
    def is_superseded(self) -> bool:
        """Whether a newer listener was started with `takeover`, and this one was too."""
        return self._term is not None and self._cache.leaders.current_term(self._kind) > self._term

    def try_lead(self, session: Session) -> str:
        """Take the advisory lock, if it is free; return why not, or ''.

        Anyone who may connect can take it. A holder that may read neither the change log nor what
        is published is no listener: it is ignored, once Redis has seen no leader for three
        heartbeats.
        """
        (taken, pid, user, name, may_listen, is_alike), *_ = session.connection.execute(
            sql.SQL(TRY_LEAD).format(role=self._lock, holds=sql.SQL(HOLDS))
        )
        if taken:
            return ""
        if may_listen is not False:
            return (
                "another listener leads"
                if is_alike
                else f"a listener of another feed leads ({name})"
            )
        reason = f"process {pid} of {user} ({name or 'no name'}) holds the leader's lock"
        if self._cache.leaders.seconds_without_leader() < 3 * session.options.heartbeat:
            return reason
        log.warning("%s, and is no listener: it is ignored", reason)
        return ""

    def holds(self, session: Session) -> bool:
        """Return whether it still has the lock that others try; Redis is asked once a heartbeat.

        A leader with a lease learns from its next batch that Redis was emptied, which names the
        lock anew. Without a lease, this is the only way to learn of it.
        """
        if time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + session.options.heartbeat
            return self._lock == sql.Literal(self.lock)
        return True

    def acquire_lease(self, session: Session) -> Lease | None:
        """Take the lease that goes with the lead; a feed without cursors needs none.

        If the cache's cursor cannot be followed, the lease is of a new epoch and has none: then
        the cache must be filled. Raises RefusedError if the cache follows another database.
        """
        incarnation = session.incarnation()
        if incarnation is None:
            with suppress(redis.RedisError):
                self._cache.has_cursor()  # a Redis that will never do is noticed here
            return None
        session.follower = self.role
        lease = self._cache.acquire_lease(incarnation, whatever_database=self._whatever_database)
        if lease.cursor is not None and session.can_resume(lease.cursor):
            return lease
        return self._cache.acquire_lease(incarnation, new_epoch=True)

    def _preempt(self, connection: "psycopg.Connection[object]") -> None:
        """Terminate the backend that leads, and be next in its queue.

        The old leader reconnects immediately and must not find the lock free, so terminate it and
        queue for its lock in one message; again, if that was too late all the same.
        """
        statements = sql.SQL(PREEMPT).format(role=self._lock, holds=sql.SQL(HOLDS))
        for _ in range(PREEMPT_ATTEMPTS):
            with suppress(psycopg.errors.LockNotAvailable), connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '500ms'")
                connection.execute(statements)
                return


HOLDS = """
    l.locktype = 'advisory' AND l.granted AND l.pid <> pg_backend_pid() AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32 | l.objid::bigint) = k.key
"""
TRY_LEAD = """
    SELECT pg_try_advisory_lock(k.key), a.pid, a.usename, a.application_name,
           has_table_privilege(a.usesysid, to_regclass('reactive.change'), 'SELECT') OR coalesce(
               has_table_privilege(a.usesysid, to_regclass('reactive.published'), 'SELECT'), false),
           coalesce(a.application_name = current_setting('application_name'), true)
    FROM hashtextextended({role}, 0) AS k (key)
    LEFT JOIN pg_locks l ON {holds} LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LIMIT 1
"""
PREEMPT = """
    SELECT pg_terminate_backend(l.pid)
    FROM pg_locks l, hashtextextended({role}, 0) AS k (key) WHERE {holds};
    SELECT pg_advisory_lock(hashtextextended({role}, 0))
"""
