"""Where the benchmark works: a database of its own, and keys of its own in Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reactive_demo.capture.install import install, uninstall
from reactive_demo.postgres import PatientConnection, open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.servers import Stack
from reactive_demo.tutorial.bench.debezium import DEBEZIUM
from reactive_demo.tutorial.chapter_setup import (
    drop_database,
    forget,
    fresh_database,
    install_article,
)

__all__ = ["PROFILES", "Places"]

PROFILES = 10_000
"""Rows of the table `profile`."""

DATABASE = "reactive_demo_bench"

SMALL, LARGE = "bench", "bench_large"
"""The names of the caches."""


@dataclass(frozen=True, slots=True)
class Places:
    """A database with the table `profile`, and caches of its own."""

    database_url: str
    cache: Cache
    large_cache: Cache
    database: PatientConnection

    @classmethod
    @contextmanager
    def make(cls, stack: Stack) -> Iterator["Places"]:
        """Create both, and remove them at the end."""
        url = fresh_database(stack, DATABASE)
        cache, large = (Cache(stack.redis_url, name) for name in (SMALL, LARGE))
        try:
            install(url)
            with open_postgres(url, "bench", silence_timeout=600) as database:
                database.execute(
                    "INSERT INTO public.profile SELECT 'user' || n FROM generate_series(1, %s) n",
                    [PROFILES],
                )
                yield cls(url, cache, large, database)
        finally:
            for one in (cache, large):
                forget(stack.redis_url, one.table)
                one.close()
            drop_database(stack, DATABASE)

    def prepare(self, pipeline: str) -> None:
        """Install what `pipeline` needs, and nothing else."""
        if pipeline == "the log":
            self.published()
        elif pipeline == "the change table":
            self.captured()
        elif pipeline == DEBEZIUM:
            self.bare()
        else:
            self.article()

    def bare(self) -> None:
        """Remove every trigger."""
        uninstall(self.database_url, "profile")
        install_article(self.database_url)
        self.database.execute("DROP TRIGGER notify_profile ON public.profile")
        self._settle("public.profile")

    def article(self) -> None:
        """Install the article's trigger."""
        uninstall(self.database_url, "profile")
        install_article(self.database_url)
        self._settle("public.profile")

    def captured(self) -> None:
        """Install capture, and change each row once, as the first change of a key costs more."""
        install(self.database_url)
        self.database.execute("UPDATE public.profile SET likes_count = likes_count + 1")
        self._settle("public.profile", "reactive.change")

    def published(self) -> None:
        """Publish the table in the log."""
        install(self.database_url, feed="log")
        self._settle("public.profile")

    def _settle(self, *tables: str) -> None:
        """Keep one measurement from paying for the one before."""
        for statement in (f"VACUUM ANALYZE {', '.join(tables)}", "CHECKPOINT"):
            self.database.execute(statement.encode())
