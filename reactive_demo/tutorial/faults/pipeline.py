"""One of the two pipelines: a table, a wire, a listener, a cache."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import psycopg
import redis
from psycopg import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from reactive_demo.capture.install import install, read_sql
from reactive_demo.feeds import ChangeTableFeed, NotifyFeed
from reactive_demo.listener.listener import Listener
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

IMPATIENT = 0.25
"""Seconds to wait for Redis when one only wants to look."""

BACK = 20.0
"""Seconds in which a pipeline must be at work again."""


class Pipeline:
    """A table and its way to Redis. The listener reaches PostgreSQL by a wire that can be cut."""

    def __init__(self, database_url: str, redis_url: str, name: str) -> None:
        self.database_url = database_url
        self.name = name
        """`article` or `durable`."""
        self.table = table = f"lab_{name}"
        """In the database, and before the keys in the cache."""
        self.durable = name == "durable"
        self.cache = Cache(redis_url, table)
        self._eyes = redis.Redis.from_url(
            redis_url,
            decode_responses=True,
            socket_timeout=IMPATIENT,
            retry=Retry(NoBackoff(), 0),
        )
        self.truth = StalenessTracker()
        self.lost = 0
        """Changes that will never arrive, since it was started."""
        self.refused = 0
        """Writes that the database did not take because of the pipeline."""
        self._like = sql.SQL(
            "UPDATE {} SET likes_count = likes_count + 1 WHERE username = ANY(%s)"
            " RETURNING username, likes_count"
        ).format(sql.Identifier(table))
        self._make_table()
        self.wire = FaultProxy.to_postgres(database_url)
        feed: Any = (
            ChangeTableFeed(self.wire.url, table)
            if self.durable
            else NotifyFeed(self.wire.url, table, channel="profile_change")
        )
        self.listener = Listener(feed, self.cache)
        self._cached: dict[str, int | None] = {}

    def start(self) -> Self:
        """Start the listener, and wait until all profiles are cached."""
        self.listener.start().wait_until("live", BACK)
        if not self.durable:
            self.level()  # the article's way knows nothing of what was there before
        wait_until("the cache is filled", lambda: not self.look().stale, BACK)
        return self

    def close(self) -> None:
        """End the listener and the wire, and take the cached rows away; raise what it hid."""
        try:
            self.listener.stop()
        finally:
            self.wire.close()
            with suppress(redis.RedisError):
                forget(self.cache.redis_url, self.table)
            self._eyes.close()
            self.cache.close()

    def write(self, connection: "psycopg.Connection[Any]", names: Sequence[str] = NAMES) -> None:
        """One like for each of the profiles, in one statement."""
        rows = connection.execute(self._like, [list(names)]).fetchall()
        self.truth.note(dict(rows), time.monotonic())

    def write_unseen(self, connection: "psycopg.Connection[Any]", names: Sequence[str]) -> None:
        """One like for each, in a transaction that has not committed: `learn` when it has."""
        connection.execute(self._like, [list(names)])

    def write_bio(self, connection: "psycopg.Connection[Any]", name: str, bio: str) -> None:
        """A like and a text for one profile. Raises psycopg.Error if the database refuses."""
        connection.execute(
            sql.SQL(
                "UPDATE {} SET likes_count = likes_count + 1, bio = %s WHERE username = %s"
            ).format(sql.Identifier(self.table)),
            [bio, name],
        )
        self.learn(connection)

    def late(self) -> set[str]:
        """The profiles that are behind now."""
        self.look()
        return set(self.truth.behind)

    def learn(self, connection: "psycopg.Connection[Any]") -> None:
        """Take down what the table holds, for who wrote it otherwise."""
        query = sql.SQL("SELECT username, likes_count FROM {}").format(sql.Identifier(self.table))
        self.truth.note(dict(connection.execute(query).fetchall()), time.monotonic())

    def look(self) -> Score:
        """See how far the cache is behind; while Redis does not answer, what it said last."""
        keys = [*NAMES, MARKER]
        try:
            with self._eyes.pipeline(transaction=False) as batch:
                for key in keys:
                    batch.hget(self.cache.redis_key(key), "row")
                rows = batch.execute()
            self._cached = {key: _likes(row) for key, row in zip(keys, rows, strict=True)}
        except (redis.ConnectionError, redis.TimeoutError):
            pass
        self.truth.compare(self._cached, time.monotonic())
        return self.score

    @property
    def fewest_likes(self) -> int:
        """The likes that each cached profile had at least, at the last look."""
        return min(self._cached.get(name) or 0 for name in NAMES)

    @property
    def score(self) -> Score:
        """As it was at the last look."""
        return Score(self.lost + self.refused, len(self.truth.behind), self.truth.worst)

    def settle(self) -> int:
        """Wait until it has caught up; how many profiles are wrong then, by the meter.

        A change of the marker that has arrived is the proof: what was committed before it, and is
        not there, will never come.
        """
        before = self._marker()

        def arrived() -> bool:
            with psycopg.connect(self.database_url, autocommit=True) as connection:
                self.write(connection, [MARKER])
            return self._marker() != before

        wait_until(f"a change of {self.name} arrives again", arrived, BACK)
        if self.durable:
            return len(self.audit(again=(0.2, 1.0)).wrong)
        return len(self.audit(again=(0.2,)).wrong)

    def audit(self, **options: Any) -> Report:
        """Compare its table with its cache; the article's changes have no versions."""
        return audit(self.database_url, self.cache, captured=self.durable, **options)

    def level(self) -> int:
        """Put the cache right by hand; how many profiles that took."""
        report = self.audit(again=())
        return repair(self.database_url, self.cache, report).repaired if report.wrong else 0

    def __repr__(self) -> str:
        return f"Pipeline({self.name}, {self.listener.status_text})"

    def _marker(self) -> dict[str, Any] | None:
        return self.cache.get(MARKER)

    def _make_table(self) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(TABLE.replace("profile", self.table).encode())
            connection.execute(
                sql.SQL("INSERT INTO {} (username) SELECT unnest(%s::text[])").format(
                    sql.Identifier(self.table)
                ),
                [[*NAMES, MARKER]],
            )
            self.learn(connection)
            if not self.durable:
                # The article's trigger as it is, on this table.
                connection.execute("CREATE SCHEMA IF NOT EXISTS reactive")
                trigger = read_sql("03_notify.sql").replace("public.profile", self.table)
                connection.execute(trigger.encode())
        if self.durable:
            install(self.database_url, self.table)
        forget(self.cache.redis_url, self.table)


TABLE = """
    CREATE TABLE profile (
        username    text   PRIMARY KEY,
        likes_count bigint NOT NULL DEFAULT 0,
        bio         text   NOT NULL DEFAULT ''
    )
"""


def _likes(row: str | None) -> int | None:
    return None if row is None else int(json.loads(row)["likes_count"])
