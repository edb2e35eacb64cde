"""Servers that a test may stop, kill, freeze and restore; and what must hold in the end."""

import json
import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg

from reactive_demo import Cache, ChangeTableFeed
from reactive_demo.changes import Lease, State
from reactive_demo.feeds import Session
from reactive_demo.servers.engines import PostgreSQL
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir
from reactive_demo.waiting import StopEvent
from tools.waiting import until

QUIET = 5.0
"""Seconds after which database and cache must agree."""


class PostgresServer:
    """A PostgreSQL of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._account = RunAs.for_servers()
        self._place = ServerDir(folder)
        self._server = PostgreSQL(self._place, self._account)
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = folder / "s"
        self._sockets.mkdir(exist_ok=True)
        self._account.own(self._sockets)
        self.url = self._server.url(self._sockets)

    @property
    def data(self) -> Path:
        return self._place.data

    def start(self) -> None:
        self._server.prepare()
        with (self.folder / "log").open("ab") as log:
            self._process = self._account.start(
                self._server.command(self._sockets),
                preexec_fn=lambda: None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until("PostgreSQL answers", self._answers, timeout=30)

    def stop(self, by: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is a fast shutdown, SIGQUIT an immediate one, SIGKILL a crash."""
        if self._process:
            family = psutil.Process(self._process.pid).children(recursive=True)
            self._process.send_signal(by)
            self._process.wait(timeout=30)
            self._process = None
            psutil.wait_procs(family, timeout=30)

    def backup(self, to: Path) -> None:
        """A base backup that can be started as it is."""
        to.mkdir(mode=0o700)
        self._account.own(to)
        program = Path(self._server.command(self._sockets)[0]).with_name("pg_basebackup")
        words = [program, "-h", self._sockets, "-U", "reactive_demo", "-D", to, "-c", "fast"]
        self._account.run(words, check=True, capture_output=True)

    def restore(self, backup: Path, *, recover: bool) -> None:
        """Put a backup in the place of the data; `recover` begins a new timeline."""
        self.data.rename(self.folder / "lost")
        backup.rename(self.data)
        if recover:
            (self.data / "recovery.signal").touch()
            with (self.data / "postgresql.auto.conf").open("a") as settings:
                settings.write("restore_command = 'false'\n")
        self._account.own(self.data)

    def _answers(self) -> bool:
        try:
            self._server.probe(self.url)
            with psycopg.connect(self.url) as connection:
                return not connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]
        except psycopg.OperationalError:
            return False


def stored(database_url: str, table: str = "profile", key: str = "username") -> dict[str, Any]:
    """The table's rows by key; `key` is an SQL expression."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return dict(
            connection.execute(f"SELECT {key}, row_to_json(t.*) FROM {table} t".encode()).fetchall()
        )


def cached(cache: Cache) -> dict[str, Any]:
    """The cached rows by key, without tombstones."""
    keys = list(cache.scan())
    with cache._redis.pipeline(transaction=False) as batch:
        for key in keys:
            batch.hget(cache.redis_key(key), "row")
        rows = batch.execute(raise_on_error=False)
    # What is no hash holds no row, and so differs from the table until the listener has seen to it.
    found = {key: row for key, row in zip(keys, rows, strict=True) if row is not None}
    return {key: json.loads(row) if isinstance(row, str) else row for key, row in found.items()}


def agree(
    database_url: str,
    cache: Cache,
    table: str = "profile",
    key: str = "username",
    *,
    timeout: float = QUIET,
) -> None:
    """Every key in the cache equals its row, and every deleted key is absent; soon."""
    truth = stored(database_url, table, key)
    try:
        until("database and cache agree", lambda: cached(cache) == truth, timeout)
    except AssertionError:
        held = cached(cache)
        wrong = {k for k in truth.keys() | held.keys() if truth.get(k) != held.get(k)}
        shown = {k[:80]: (truth.get(k), held.get(k)) for k in sorted(wrong)[:3]}
        raise AssertionError(f"{len(wrong)} keys differ, (stored, cached): {shown}") from None


def take_lease(cache: Cache, session: Session) -> Lease:
    """Take the lead, as a listener's Leadership does."""
    lease = cache.acquire_lease(session.incarnation())
    if lease.cursor is not None and session.can_resume(lease.cursor):
        return lease
    return cache.acquire_lease(session.incarnation(), new_epoch=True)


def carry(database_url: str, cache: Cache, table: str = "profile") -> int:
    """Bring the cache up to date, in this thread; how many batches that took."""
    written = 0
    with ChangeTableFeed(database_url, table).open() as session:
        lease = take_lease(cache, session)
        for batch in session.batches(lease.cursor, StopEvent()):
            if not batch.is_empty:
                cache.write(batch, lease)
                lease = replace(lease, sequence=lease.sequence + 1)
            if batch.state is State.LIVE and not batch.changes and batch.evict_below is None:
                break  # there is no more; it may be a sign of life, if it took so long
            written += 1
    return written


class Traffic:
    """A writer who inserts, changes, renames and deletes for as long as the block lasts."""

    def __init__(self, database_url: str, seed: int = 0) -> None:
        self._url = database_url
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.committed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.flow()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def flow(self, count: int = 50, timeout: float = 20) -> None:
        """Wait until some more is written."""
        goal = self.committed + count
        until("writes commit", lambda: self.committed >= goal, timeout)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True) as connection:
                    while not self._over.is_set():
                        self._write(connection)
                        self.committed += 1
            except psycopg.OperationalError:
                self._over.wait(0.01)  # the server is away

    def _write(self, connection: psycopg.Connection[Any]) -> None:
        name, other = (f"user {self._random.randrange(200)}" for _ in range(2))
        statement = self._random.choice(STATEMENTS)
        with suppress(psycopg.errors.UniqueViolation):
            connection.execute(statement.encode(), {"name": name, "other": other})


STATEMENTS = (
    *["SELECT reactive.increment(%(name)s, 'likes')"] * 4,
    "DELETE FROM public.profile WHERE username = %(name)s",
    "UPDATE public.profile SET username = %(other)s WHERE username = %(name)s",
)


LISTEN = """
import sys
from reactive_demo.options import Options
from reactive_demo.tools.services import listen
_, database_url, redis_url, heartbeat = sys.argv
listen(database_url, redis_url, "profile", options=Options(heartbeat=float(heartbeat)))
"""


class Process:
    """A listener in a process of its own, as `reactive-demo listen` runs it."""

    def __init__(self, database_url: str, cache: Cache, heartbeat: float = 2.0) -> None:
        words = [sys.executable, "-c", LISTEN, database_url, cache.redis_url, str(heartbeat)]
        self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        self.words: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, words: str, timeout: float = 20) -> None:
        until(f"it says {words}", lambda: words in "".join(self.words[-1:]), timeout)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)

    def end(self) -> int:
        """Ask it to stop; its exit status."""
        self.wake()
        self._process.terminate()
        self._reading.join(10)
        return self._process.wait(timeout=10)

    def _read(self) -> None:
        for line in self._process.stderr:
            self.words.append(line.strip())
        self._process.stderr.close()
