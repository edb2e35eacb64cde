"""The lab's servers: its own, which it may harm, or others, which it may not.

Its own are the default, because harm to the servers that all notebooks share would show in every
open notebook. They start within a second, in a folder beside the shared one, under a supervisor of
their own that restarts a PostgreSQL that was stopped as it would one that crashed.
"""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import redis

from reactive_demo import servers as stack
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.servers import Stack, connect
from reactive_demo.servers.server_dir import ServerDir, try_lock
from reactive_demo.settings import Settings
from reactive_demo.waiting import wait_until

__all__ = ["Servers", "reset"]

MAX_LABS = 9
"""Labs that can run at the same time, each in a process of its own."""

RESTART_TIMEOUT = 30.0
"""Seconds in which a stopped server must answer again."""


class Servers:
    """The two servers, and the harm that can be done to them.

    Without `may_harm`, methods that do harm raise ReactiveDemoError.
    """

    def __init__(
        self, servers: Stack, home: Path | None = None, lock: int | None = None, *, may_harm: bool
    ) -> None:
        self.stack = servers
        self._home = home
        self._lock = lock
        self._may_harm = may_harm

    @classmethod
    def own(cls) -> Self:
        """Start two in a folder that no other process uses, whatever DATABASE_URL says."""
        for home in _homes():
            home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = try_lock(home.with_name(f"{home.name}.lock"))
            if lock is not None:
                try:
                    return cls(connect(_only(home)), home, lock, may_harm=True)
                except BaseException:
                    os.close(lock)
                    raise
        raise ReactiveDemoError(
            f"{MAX_LABS} fault labs run already: shut down the kernels of those you do not need."
        )

    @property
    def home(self) -> Path:
        """The folder of its own servers."""
        if self._home is None:
            raise ReactiveDemoError("The lab has started no servers: it has no folder.")
        return self._home

    @property
    def redis_url(self) -> str:
        """The URL of Redis."""
        return self.stack.redis_url

    @property
    def are_own(self) -> bool:
        """Whether the lab started them."""
        return self._home is not None

    def close(self) -> None:
        """Stop using the servers; its own stop a few seconds later."""
        if self.are_own:
            self.stack.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def freeze_redis(self, seconds: float) -> None:
        """Have Redis answer nobody for a while; it resumes by itself, even if we are gone."""
        self._check("freeze Redis", "REDIS_URL")
        with open_redis(self.redis_url) as client:
            client.client_pause(int(1000 * seconds), all=True)

    def empty_redis(self) -> None:
        """Delete everything that Redis holds."""
        self._check("empty Redis", "REDIS_URL")
        with open_redis(self.redis_url) as client:
            client.flushall()

    def stop_postgres(self) -> None:
        """Stop PostgreSQL as if its machine had lost power, and wait until it is gone.

        Its supervisor restarts it within two seconds.
        """
        if self._home is None:
            raise ReactiveDemoError(
                "Only a PostgreSQL that the lab started can be stopped here, and it did not start "
                "this one: let the lab start servers of its own, FaultLab()."
            )
        facts = ServerDir(self._home / "postgres").read("server")
        server = psutil.Process(int(facts["pid"]))
        family = [server, *server.children(recursive=True)]
        server.send_signal(signal.SIGQUIT)
        psutil.wait_procs(family, timeout=10)

    def await_postgres(self, database_url: str) -> "psycopg.Connection[Any]":
        """Wait until PostgreSQL answers; return the first connection to it."""
        found = []

        def answers() -> bool:
            try:
                found.append(open_postgres(database_url, "lab"))
            except psycopg.OperationalError:
                return False
            return True

        wait_until("PostgreSQL answers again", answers, RESTART_TIMEOUT)
        return found[0]

    def await_redis(self) -> None:
        """Wait until Redis answers."""

        def answers() -> bool:
            try:
                with open_redis(self.redis_url) as client:
                    return bool(client.ping())
            except redis.RedisError:
                return False

        wait_until("Redis answers again", answers, RESTART_TIMEOUT)

    def _check(self, harm: str, variable: str) -> None:
        if not self._may_harm:
            raise ReactiveDemoError(
                f"To {harm} would harm all users of the server of {variable}, which the lab did "
                "not start: let it start servers of its own, FaultLab(), or say that it may, "
                "FaultLab(stack, may_harm=True)."
            )


def reset() -> list[Path]:
    """Delete the data of all labs; return the folders that were removed."""
    found = [home for home in _homes() if home.exists()]
    return [folder for home in found for folder in stack.reset(Settings(None, None, home))]


def _only(home: Path) -> Settings:
    """Return settings with embedded servers in `home`, and brokers of your own if you have some."""
    return replace(Settings.from_environment(), database_url=None, redis_url=None, home=home)


def _homes() -> list[Path]:
    """Return the labs' folders: siblings of the shared servers' folder."""
    shared = Settings.from_environment().home
    return [shared.with_name(f"{shared.name}-faults-{number}") for number in range(1, MAX_LABS + 1)]
