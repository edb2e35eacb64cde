"""The two servers: embedded ones, shared by everyone who uses this checkout, or one's own.

    stack = connect()
    stack.database_url, stack.redis_url

An embedded server starts with its first user and stops a few seconds after its last.
"""

import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import Self

import psycopg
import redis

from reactive_demo.errors import ReactiveDemoError, first_line
from reactive_demo.servers.server_dir import ServerDir, lock, try_lock
from reactive_demo.settings import Settings, without_password

__all__ = ["Stack", "connect", "reset"]

START_TIMEOUT = 90.0
"""Seconds to wait for a server to start, or for a stopping one to be gone."""


class Stack:
    """The URLs of PostgreSQL and Redis, usable until `close()` or the end of the process."""

    def __init__(self, database_url: str, redis_url: str, embedded: dict[str, int]) -> None:
        self.database_url = database_url
        """A libpq URI or conninfo."""
        self.redis_url = redis_url
        """A URL for redis-py."""
        self.embedded = embedded
        """The locks, by server, that keep the embedded ones running."""

    def close(self) -> None:
        """Stop using the embedded servers; safe to call twice."""
        while self.embedded:
            os.close(self.embedded.popitem()[1])

    def hand_over(self) -> None:
        """Let the program that replaces this one (`exec`) keep the servers running."""
        for handle in self.embedded.values():
            os.set_inheritable(handle, True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        database = (
            "embedded" if "postgres" in self.embedded else without_password(self.database_url)
        )
        cache = "embedded" if "valkey" in self.embedded else without_password(self.redis_url)
        return f"Stack(PostgreSQL: {database}, Redis: {cache})"


def connect(
    settings: Settings | None = None, servers: Collection[str] = ("postgres", "valkey")
) -> Stack:
    """Start the servers or join those that run; with `DATABASE_URL`, `REDIS_URL` use one's own.

    An embedded server that is not among `servers` is left alone, and its URL is empty.
    Raises ReactiveDemoError, in one sentence, when a server cannot be had.
    """
    settings = settings or Settings.from_environment()
    wanted = {
        name: _place(settings.home, name)
        for name, url in (("postgres", settings.database_url), ("valkey", settings.redis_url))
        if url is None and name in servers
    }
    if settings.database_url:
        _probe_database(settings.database_url)
    if settings.redis_url:
        _probe_redis(settings.redis_url)
    embedded: dict[str, int] = {}
    try:
        for name, place in wanted.items():
            embedded[name] = _join(name, place)
        started = [name for name, place in wanted.items() if _start(name, place)]
        urls = {name: _await_url(name, place, name in started) for name, place in wanted.items()}
    except BaseException:
        for handle in embedded.values():
            os.close(handle)
        raise
    return Stack(
        settings.database_url or urls.get("postgres", ""),
        settings.redis_url or urls.get("valkey", ""),
        embedded,
    )


def reset(settings: Settings | None = None) -> list[Path]:
    """Throw the embedded servers' data away; the folders that were removed.

    The locks stay: two processes could each hold a lock whose file was removed and made again.
    """
    settings = settings or Settings.from_environment()
    if settings.database_url:
        raise ReactiveDemoError(
            "`reset` throws away the embedded data only, and DATABASE_URL points to a server of "
            "your own: unset DATABASE_URL first."
        )
    handles: list[int] = []
    removed: list[Path] = []
    try:
        places = [_place(settings.home, name) for name in ("postgres", "valkey")]
        present = [place for place in places if place.folder.exists()]
        for place in present:
            handles += [_sole_user(place)]
        for place in present:
            removed += _clear(place)
    finally:
        for handle in handles:
            os.close(handle)
    return removed


def _place(home: Path, name: str) -> ServerDir:
    return ServerDir(home / name)


def _join(name: str, place: ServerDir) -> int:
    """Become a user of the server: the user's lock."""
    if os.name != "posix":
        raise ReactiveDemoError(
            "The embedded servers need Linux, macOS or WSL: set DATABASE_URL and REDIS_URL to "
            "servers of your own (see compose.yaml)."
        )
    place.create()
    user = lock(place.users, shared=True, timeout=START_TIMEOUT)
    if user is None:
        raise ReactiveDemoError(
            f"The embedded {name} is still stopping after {START_TIMEOUT:.0f} s: see {place.log}."
        )
    return user


def _start(name: str, place: ServerDir) -> bool:
    """Start the server's keeper, if it has none."""
    from reactive_demo.servers import supervisor  # noqa: PLC0415  (imports what Windows has not)

    if (keepers := try_lock(place.keeper)) is None:
        return False
    place.forget("state")
    supervisor.spawn(name, place, keepers)
    os.close(keepers)  # the keeper has it now
    return True


def _await_url(name: str, place: ServerDir, started: bool) -> str:
    """Wait for the keeper's word: the server's URL, or why there is none.

    A keeper that others had `started` may have been about to end: then it has a successor.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        state = place.read("state")
        if url := state.get("url"):
            return str(url)
        if error := state.get("error"):
            raise ReactiveDemoError(error)
        if (keepers := try_lock(place.keeper)) is not None:  # the keeper is gone
            os.close(keepers)
            if error := place.read("state").get("error"):
                raise ReactiveDemoError(error)
            if started:
                raise ReactiveDemoError(
                    f"The embedded {name} did not start ({place.last_words()}): see {place.log}."
                )
            started = _start(name, place)
        time.sleep(0.01)
    raise ReactiveDemoError(
        f"The embedded {name} did not start in {START_TIMEOUT:.0f} s: see {place.log}."
    )


def _sole_user(place: ServerDir) -> int:
    """The users' lock, exclusively, once the server has stopped; an error if someone uses it."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        # A keeper takes the lock for a moment to look, and keeps it while it stops the server.
        if (users := lock(place.users, timeout=1)) is not None:
            if (keepers := try_lock(place.keeper)) is not None:
                os.close(keepers)
                return users
            os.close(users)  # the keeper is to see that nobody is left
            time.sleep(0.1)
        elif (shared := try_lock(place.users, shared=True)) is not None:
            os.close(shared)
            raise ReactiveDemoError(
                f"The embedded servers in {place.folder.parent} are in use: shut down the kernels "
                "and terminals that use them first."
            )
    raise ReactiveDemoError(
        f"The server in {place.folder} did not stop in {START_TIMEOUT:.0f} s: see {place.log}."
    )


def _clear(place: ServerDir) -> list[Path]:
    """Remove all but the locks; the folders that were removed."""
    from reactive_demo.servers.engines import SERVERS  # noqa: PLC0415
    from reactive_demo.servers.process import end_orphan  # noqa: PLC0415  (as above)

    end_orphan(place, SERVERS[place.folder.name].stop_signal)
    entries = [path for path in place.folder.iterdir() if path not in (place.users, place.keeper)]
    folders = [path for path in entries if path.is_dir() and not path.is_symlink()]
    for path in entries:
        shutil.rmtree(path) if path in folders else path.unlink()
    return folders


def _probe_database(url: str) -> None:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except (psycopg.Error, ValueError) as error:  # ValueError: what is no name of a host
        raise ReactiveDemoError(
            f"DATABASE_URL ({without_password(url)}) does not answer ({first_line(error)}): start "
            "that server, or unset DATABASE_URL to use the embedded one."
        ) from None


def _probe_redis(url: str) -> None:
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise ReactiveDemoError(
            f"REDIS_URL ({without_password(url)}) does not answer ({error}): start that server, "
            "or unset REDIS_URL to use the embedded one."
        ) from None
