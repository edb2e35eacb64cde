"""A table of numbers with capture, its cache, and the listeners that carry it while measured."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from psycopg import sql

from reactive_demo.capture.install import install
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.waiting import WaitTimeoutError

__all__ = ["FollowedTable"]

PATIENCE = 60.0
"""Seconds that any one figure may take."""

TRIES = 8
"""Changes whose delay is measured, one by one."""


class FollowedTable:
    """A table of so many rows, which begin at 0. It is dropped at the end of a `with` block.

    What its cache holds stays until the servers end.
    """

    def __init__(self, database_url: str, redis_url: str, name: str, rows: int) -> None:
        self.database_url = database_url
        self.rows = rows
        self.cache = Cache(redis_url, f"chapter_10_{name}")
        self._table = sql.Identifier("public", self.cache.table)

    def __enter__(self) -> Self:
        self._connection = psycopg.connect(self.database_url, autocommit=True)
        self._execute("DROP TABLE IF EXISTS {}")
        self._execute("CREATE TABLE {} (id int PRIMARY KEY, n int)")
        self._execute("INSERT INTO {} SELECT id, 0 FROM generate_series(0, %s) id", self.rows - 1)
        install(self.database_url, self.cache.table)
        return self

    def __exit__(self, *exc: object) -> None:
        self._execute("DROP TABLE {}")
        self._connection.close()
        self.cache.close()

    def change(self, ids: Sequence[int] | None = None) -> None:
        """Change rows, all of them without `ids`, in one transaction."""
        self._execute("UPDATE {} SET n = n + 1 WHERE id = ANY (%s)", list(ids or range(self.rows)))

    @contextmanager
    def listener(self, state: str = "live") -> Iterator[Listener]:
        """Have a listener, until the block ends."""
        with Listener(ChangeTableFeed(self.database_url, self.cache.table), self.cache) as one:
            one.wait_until(state, PATIENCE)
            yield one

    def fill(self) -> None:
        """Fill the cache, and leave it alone."""
        with self.listener():
            pass

    def catch_up(self, ids: Sequence[int] | None = None) -> float:
        """Change rows while nobody listens; return the seconds that a listener then takes."""
        self.change(ids)
        began: list[float] = []
        with Listener(ChangeTableFeed(self.database_url, self.cache.table), self.cache) as one:
            one.observe(lambda _: began.append(time.perf_counter()))
            one.wait_until("live", PATIENCE)
            return time.perf_counter() - began[1]  # once it was connected

    def one_change(self) -> float:
        """Return the seconds from a commit until the cache has the change."""

        def arrives() -> None:
            ((number,),) = self._execute("SELECT n FROM {} WHERE id = 0")
            deadline = time.monotonic() + PATIENCE
            while (self.cache.get("0") or {}).get("n") != number:
                if time.monotonic() > deadline:
                    raise WaitTimeoutError("The cache does not have the change.")

        return self._seconds(arrives)

    def until_seen(self, viewers: int) -> float:
        """Return the seconds until the last of so many viewers of a row sees a change."""
        told: list[object] = []
        all_told = threading.Event()

        def tell(row: object) -> None:
            told.append(row)
            if len(told) == viewers:
                all_told.set()

        def arrives() -> None:
            if not all_told.wait(PATIENCE):
                raise WaitTimeoutError(f"{len(told):,} of {viewers:,} viewers see the change.")
            told.clear()
            all_told.clear()

        subscriptions = [self.cache.subscribe("0", tell) for _ in range(viewers)]
        try:
            arrives()  # each is told the row as it is
            return self._seconds(arrives)
        finally:
            for subscription in subscriptions:
                subscription.close()

    def _seconds(self, arrives: Callable[[], None]) -> float:
        """Change the first row several times; return the seconds until that `arrives`.

        That of the lower quartile, because this machine has other work too.
        """

        def once() -> float:
            self.change([0])
            began = time.perf_counter()
            arrives()
            return time.perf_counter() - began

        return sorted(once() for _ in range(TRIES))[TRIES // 4]

    def _execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(sql.SQL(statement).format(self._table), values)
        return cursor.fetchall() if cursor.description else []
