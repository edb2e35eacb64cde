"""Writes to the database in threads beside the loop, so that a slow write holds up nobody else.

While a thread is busy, more writes come in; the next free thread takes them all in one
transaction. Under light load each write is a transaction of its own; under heavy load, a hundred
share the price of a round trip and a commit.

A row that another transaction holds must not hold up the writes of other rows. So a batch waits
for a lock only briefly. Then each of its rows is written by itself, and those that are locked go
to a thread of their own, which tries one after the other until their time is up.
"""

import asyncio
import threading
import time
from contextlib import suppress
from typing import NamedTuple

from reactive_demo.app.profiles import Profiles
from reactive_demo.errors import LockTimeoutError, UnavailableError
from reactive_demo.tutorial.web.options import WebOptions

__all__ = ["Writers"]

THREADS = 2
"""One may wait for its commit while the other takes what comes in."""

MAX_JOBS = 100
"""Writes in one transaction, at most."""


class Job(NamedTuple):
    """A write, and the future of its version."""

    username: str
    counter: str
    version: "asyncio.Future[int | None]"
    deadline: float
    """By the monotonic clock; the end of waiting for a lock."""


class Writers:
    """The threads that write; they end with `close()`, or with the process."""

    def __init__(self, database_url: str, options: WebOptions) -> None:
        self._profiles = Profiles(database_url)
        self._options = options
        self._brief = options.lock_timeout / 10
        self._loop = asyncio.get_running_loop()
        self._ready = threading.Condition()
        self._jobs: list[Job] = []
        self._locked: set[str] = set()
        """Usernames whose rows were locked when they were last tried."""
        self._waiting: list[Job] = []
        """The jobs of such rows."""
        self._closed = False
        for work in (*THREADS * [self._run], self._run_locked):
            threading.Thread(target=work, name="reactive_demo write", daemon=True).start()

    def increment(self, username: str, counter: str) -> "asyncio.Future[int | None]":
        """Schedule a `Profiles.increment`; return the future of its version.

        The future raises LockTimeoutError if the row stays locked for `options.lock_patience` s.
        """
        deadline = time.monotonic() + self._options.lock_patience
        job = Job(username, counter, self._loop.create_future(), deadline)
        with self._ready:
            (self._waiting if username in self._locked else self._jobs).append(job)
            self._ready.notify_all()
        return job.version

    def close(self) -> None:
        """Let the threads end once they have done what is waiting."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    # The threads

    def _run(self) -> None:
        while jobs := self._take():
            self._write(jobs, self._options.lock_timeout)
        self._profiles.close()

    def _run_locked(self) -> None:
        while jobs := self._take_locked():
            self._write(jobs, self._brief)

    def _take(self) -> list[Job]:
        """Wait for jobs and return them; return none once closed."""
        with self._ready:
            self._ready.wait_for(lambda: self._jobs or self._closed)
            jobs, self._jobs = self._jobs[:MAX_JOBS], self._jobs[MAX_JOBS:]
        return jobs

    def _take_locked(self) -> list[Job]:
        """Wait for jobs of locked rows and return those of one row; return none once closed."""
        with self._ready:
            self._ready.wait_for(lambda: self._waiting or self._closed)
            first = self._waiting[0].username if self._waiting else None
            jobs = [job for job in self._waiting if job.username == first]
            self._waiting = [job for job in self._waiting if job.username != first]
        return jobs

    def _write(self, jobs: list[Job], lock_timeout: float) -> None:
        """Write all jobs in one transaction, or in several if one of them cannot be written."""
        rows: dict[str, list[Job]] = {}
        for job in jobs:
            rows.setdefault(job.username, []).append(job)
        increments = [(job.username, job.counter) for job in jobs]
        try:
            versions = self._profiles.increment_all(increments, lock_timeout=lock_timeout)
        except LockTimeoutError as error:
            if len(rows) == 1:
                self._set_aside(jobs, error)
            else:
                for row in rows.values():
                    self._write(row, self._brief)
        except UnavailableError as error:  # it concerns all of them
            self._answer(jobs, error)
        except Exception as error:  # noqa: BLE001  (passed on to the future)
            if len(jobs) == 1:
                self._answer(jobs, error)
            else:
                for job in jobs:
                    self._write([job], lock_timeout)
        else:
            with self._ready:
                self._locked.difference_update(rows)
            self._answer(jobs, versions)

    def _set_aside(self, jobs: list[Job], error: LockTimeoutError) -> None:
        """Leave the jobs of one row, which is locked, to the thread for such rows."""
        now = time.monotonic()
        self._answer([job for job in jobs if job.deadline <= now], error)
        with self._ready:
            name = jobs[0].username
            self._locked.add(name)
            self._waiting += [job for job in jobs if job.deadline > now]
            self._waiting += [job for job in self._jobs if job.username == name]
            self._jobs = [job for job in self._jobs if job.username != name]
            self._ready.notify_all()

    def _answer(self, jobs: list[Job], versions: list[int | None] | Exception) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it whatever waited
            self._loop.call_soon_threadsafe(_resolve, jobs, versions)


def _resolve(jobs: list[Job], versions: list[int | None] | Exception) -> None:
    """Hand each future its version, or the error."""
    for number, job in enumerate(jobs):
        if job.version.done():
            continue  # cancelled
        if isinstance(versions, Exception):
            job.version.set_exception(versions)
        else:
            job.version.set_result(versions[number])
