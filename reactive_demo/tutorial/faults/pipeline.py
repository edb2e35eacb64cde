"""One of the two pipelines: a table, a wire, a listener, a cache."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import psycopg
import redis
from psycopg import sql

from reactive_demo.capture.install import install, read_sql, uninstall
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.feeds import ChangeTableFeed, Feed, LogFeed, NotifyFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tools.audit import Report, audit, repair
from reactive_demo.tutorial.chapter_setup import forget
from reactive_demo.tutorial.fault_proxy import FaultProxy
from reactive_demo.tutorial.faults.score import Score, StalenessTracker
from reactive_demo.waiting import wait_until

__all__ = ["NAMES", "Pipeline"]

NAMES = tuple(f"user {n}" for n in range(1, 11))
"""The profiles of each table."""

MARKER = "marker"
"""One more, by which a pipeline shows that it has caught up."""

LOOK_TIMEOUT = 0.25
"""Seconds to wait for Redis when looking at the cache."""

RECOVERY_TIMEOUT = 20.0
"""Seconds in which a pipeline must be at work again."""


class Pipeline:
    """A table and its path to Redis; the listener reaches PostgreSQL by a wire that can be cut."""

    def __init__(
        self, database_url: str, redis_url: str, name: str, feed: str = "change table"
    ) -> None:
        self.database_url = database_url
        self.name = name
        """`article` or `durable`."""
        self.table = table = f"lab_{name}"
        """The name of the table, and of the cache."""
        self.durable = name == "durable"
        self.reads_log = self.durable and feed == "log"
        self.cache = Cache(redis_url, table)
        impatient = f"{'&' if '?' in redis_url else '?'}socket_timeout={LOOK_TIMEOUT}"
        self._eyes = Cache(redis_url + impatient, table)
        self.staleness = StalenessTracker()
        self.lost = 0
        """Changes that will never arrive, since the start."""
        self.refused = 0
        """Writes that the database refused because of the pipeline."""
        self._like = sql.SQL(
            "UPDATE {} SET likes_count = likes_count + 1 WHERE username = ANY(%s)"
            " RETURNING username, likes_count"
        ).format(sql.Identifier("public", table))
        self._make_table()
        self.wire = FaultProxy.to_postgres(database_url)
        self.listener = Listener(self._feed(), self.cache)
        self._cached: dict[str, int | None] = {}

    def start(self) -> Self:
        """Start the listener, and wait until all profiles are cached."""
        self.listener.start().wait_until("live", RECOVERY_TIMEOUT)
        if not self.durable:
            self.repair()  # the article's way does not cache rows that were there before
        wait_until("the cache is filled", lambda: not self.look().stale, RECOVERY_TIMEOUT)
        return self

    def close(self) -> None:
        """Stop the listener and remove the cached rows; raise what ended it, if anything did."""
        try:
            self.listener.stop()
        finally:
            self.wire.close()
            if self.reads_log:  # a slot would keep the log, and the database
                with suppress(ReactiveDemoError, psycopg.Error):
                    uninstall(self.database_url, self.table)
            with suppress(redis.RedisError):
                forget(self.cache.redis_url, self.table)
            self._eyes.close()
            self.cache.close()

    def write(self, connection: "psycopg.Connection[Any]", names: Sequence[str] = NAMES) -> None:
        """Give each of the profiles a like, in one statement."""
        rows = connection.execute(self._like, [list(names)]).fetchall()
        self.staleness.record(dict(rows), time.monotonic())

    def write_uncommitted(
        self, connection: "psycopg.Connection[Any]", names: Sequence[str]
    ) -> None:
        """Give each a like in an open transaction; call `record` once it has committed."""
        connection.execute(self._like, [list(names)])

    def write_bio(self, connection: "psycopg.Connection[Any]", name: str, bio: str) -> None:
        """Give one profile a like and a text; raise psycopg.Error if the database refuses."""
        connection.execute(
            sql.SQL(
                "UPDATE {} SET likes_count = likes_count + 1, bio = %s WHERE username = %s"
            ).format(sql.Identifier("public", self.table)),
            [bio, name],
        )
        self.record(connection)

    def late(self) -> set[str]:
        """Return the profiles that are behind now."""
        self.look()
        return set(self.staleness.behind)

    def record(self, connection: "psycopg.Connection[Any]") -> None:
        """Record what the table holds, after a write by other means than `write`."""
        query = sql.SQL("SELECT username, likes_count FROM {}").format(
            sql.Identifier("public", self.table)
        )
        self.staleness.record(dict(connection.execute(query).fetchall()), time.monotonic())

    def look(self) -> Score:
        """See how far the cache is behind; while Redis does not answer, use what it said last."""
        with suppress(redis.ConnectionError, redis.TimeoutError):
            rows = self._eyes.get_many([*NAMES, MARKER])
            self._cached = {key: row["likes_count"] if row else None for key, row in rows.items()}
        self.staleness.compare(self._cached, time.monotonic())
        return self.score

    @property
    def fewest_likes(self) -> int:
        """The fewest likes of any cached profile, at the last look."""
        return min(self._cached.get(name) or 0 for name in NAMES)

    @property
    def score(self) -> Score:
        """The score at the last look; the marker is no profile."""
        stale = len(self.staleness.behind.keys() - {MARKER})
        return Score(self.lost + self.refused, stale, self.staleness.worst)

    def await_quiescence(self) -> int:
        """Wait until the pipeline has caught up; return how many profiles are wrong then.

        It has when a change of the marker arrives: whatever was committed before that, and is not
        there, will never come.
        """
        before = self.cache.get(MARKER)

        def arrived() -> bool:
            with open_postgres(self.database_url, "lab") as connection:
                self.write(connection, [MARKER])
            return self.cache.get(MARKER) != before

        wait_until(f"a change of {self.name} arrives again", arrived, RECOVERY_TIMEOUT)
        return len(self.audit(again=(0.2, 1.0) if self.durable else (0.2,)).wrong)

    def audit(self, **options: Any) -> Report:
        """Compare the table with the cache."""
        captured = self.durable and not self.reads_log
        return audit(self.database_url, self.cache, captured=captured, **options)

    def repair(self) -> int:
        """Repair the cache; return how many profiles were wrong."""
        report = self.audit(again=())
        return repair(self.database_url, self.cache, report).repaired if report.wrong else 0

    def __repr__(self) -> str:
        return f"Pipeline({self.name}, {self.listener.status_text})"

    def _feed(self) -> Feed:
        """Return what the listener follows, by the wire."""
        if self.reads_log:
            return LogFeed(self.wire.url, self.table)
        if self.durable:
            return ChangeTableFeed(self.wire.url, self.table)
        return NotifyFeed(self.wire.url, self.table, channel="profile_change")

    def _make_table(self) -> None:
        with open_postgres(self.database_url, "lab") as connection:
            connection.execute(TABLE.replace("profile", self.table).encode())
            connection.execute(
                sql.SQL("INSERT INTO {} (username) SELECT unnest(%s::text[])").format(
                    sql.Identifier("public", self.table)
                ),
                [[*NAMES, MARKER]],
            )
            self.record(connection)
            if not self.durable:
                # The article's trigger unchanged, on this table.
                connection.execute("CREATE SCHEMA IF NOT EXISTS reactive")
                trigger = read_sql("03_notify.sql").replace(".profile", f".{self.table}")
                connection.execute(trigger.encode())
        if self.durable:
            install(self.database_url, self.table, feed="log" if self.reads_log else "change table")
        forget(self.cache.redis_url, self.table)


TABLE = """
    CREATE TABLE public.profile (
        username    text   PRIMARY KEY,
        likes_count bigint NOT NULL DEFAULT 0,
        bio         text   NOT NULL DEFAULT ''
    )
"""
