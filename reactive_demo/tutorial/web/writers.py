"""Writes to the database in threads beside the loop, so that a slow write holds up nobody else.

While a thread is busy, more writes come in; the next free thread takes them all in one
transaction. Under light load each write is a transaction of its own; under heavy load, a hundred
share the price of a round trip and a commit.
"""

import asyncio
import threading
from contextlib import suppress
from typing import NamedTuple

from reactive_demo.app.profiles import Profiles
from reactive_demo.errors import ReactiveDemoError

__all__ = ["Writers"]

THREADS = 2
"""One may wait for its commit, or for a locked row, while the other takes what comes in."""

MAX_JOBS = 100
"""Writes in one transaction, at most."""


class Job(NamedTuple):
    """A write, and the future of its version."""

    username: str
    counter: str
    version: "asyncio.Future[int | None]"


class Writers:
    """The threads that write; they end with `close()`, or with the process."""

    def __init__(self, database_url: str) -> None:
        self._profiles = Profiles(database_url)
        self._loop = asyncio.get_running_loop()
        self._ready = threading.Condition()
        self._jobs: list[Job] = []
        self._closed = False
        for _ in range(THREADS):
            threading.Thread(target=self._run, name="reactive_demo write", daemon=True).start()

    def increment(self, username: str, counter: str) -> "asyncio.Future[int | None]":
        """Schedule a `Profiles.increment`; return the future of its version."""
        job = Job(username, counter, self._loop.create_future())
        with self._ready:
            self._jobs.append(job)
            self._ready.notify()
        return job.version

    def close(self) -> None:
        """Let the threads end once they have done what is waiting."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def _run(self) -> None:
        while jobs := self._take():
            self._write(jobs)
        self._profiles.close()

    def _write(self, jobs: list[Job]) -> None:
        """Write all jobs in one transaction, or each in its own if one of them is refused."""
        versions: list[int | None] | Exception
        try:
            versions = self._profiles.increment_all([(job[0], job[1]) for job in jobs])
        except ReactiveDemoError as error:  # it concerns all of them
            versions = error
        except Exception as error:  # noqa: BLE001  (passed on to the futures)
            if len(jobs) > 1:
                for job in jobs:
                    self._write([job])
                return
            versions = error
        with suppress(RuntimeError):  # the loop has ended, and with it whatever waited
            self._loop.call_soon_threadsafe(_resolve, jobs, versions)

    def _take(self) -> list[Job]:
        """Wait for jobs and return them; return none once closed."""
        with self._ready:
            self._ready.wait_for(lambda: self._jobs or self._closed)
            jobs, self._jobs = self._jobs[:MAX_JOBS], self._jobs[MAX_JOBS:]
        return jobs


def _resolve(jobs: list[Job], versions: list[int | None] | Exception) -> None:
    """Hand each future its version, or the error."""
    for number, job in enumerate(jobs):
        if job.version.done():
            continue  # cancelled
        if isinstance(versions, Exception):
            job.version.set_exception(versions)
        else:
            job.version.set_result(versions[number])
