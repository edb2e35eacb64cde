"""Writes of the database beside the loop, in threads: one that waits holds up nobody else.

While a thread is at work, more writes come in; the next that is free takes all of them in one
transaction. With little to do, each write is a transaction of its own; with much, hundreds share
the price of a round trip and of a commit.
"""

import asyncio
import threading
from contextlib import suppress
from typing import NamedTuple

from reactive_demo.app.profiles import Profiles
from reactive_demo.errors import ReactiveDemoError

__all__ = ["Writers"]

THREADS = 2
"""One waits for its commit, or for a row that somebody has locked; one takes what comes."""

MOST = 100
"""Writes in one transaction."""


class Job(NamedTuple):
    """A write, and where its version is waited for."""

    username: str
    counter: str
    version: "asyncio.Future[int | None]"


class Writers:
    """The threads. They end with `close()`, or with the process."""

    def __init__(self, database_url: str) -> None:
        self._profiles = Profiles(database_url)
        self._loop = asyncio.get_running_loop()
        self._ready = threading.Condition()
        self._jobs: list[Job] = []
        self._closed = False
        for _ in range(THREADS):
            threading.Thread(target=self._run, name="reactive_demo write", daemon=True).start()

    def increment(self, username: str, counter: str) -> "asyncio.Future[int | None]":
        """What `Profiles.increment` does, soon."""
        job = Job(username, counter, self._loop.create_future())
        with self._ready:
            self._jobs.append(job)
            self._ready.notify()
        return job.version

    def close(self) -> None:
        """Let the threads end when they have done what they are at."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def _run(self) -> None:
        while jobs := self._take():
            self._write(jobs)
        self._profiles.close()

    def _write(self, jobs: list[Job]) -> None:
        """Write all in one transaction; if one of them cannot be written, each by itself."""
        versions: list[int | None] | Exception
        try:
            versions = self._profiles.increment_all([(job[0], job[1]) for job in jobs])
        except ReactiveDemoError as error:  # no answer, for all of them
            versions = error
        except Exception as error:  # noqa: BLE001  (who waits for a version gets it)
            if len(jobs) > 1:
                for job in jobs:
                    self._write([job])
                return
            versions = error
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(_settle, jobs, versions)

    def _take(self) -> list[Job]:
        """What waits, or the first that comes; nothing when it is over."""
        with self._ready:
            self._ready.wait_for(lambda: self._jobs or self._closed)
            jobs, self._jobs = self._jobs[:MOST], self._jobs[MOST:]
        return jobs


def _settle(jobs: list[Job], versions: list[int | None] | Exception) -> None:
    for number, job in enumerate(jobs):
        if job.version.done():
            continue  # cancelled
        if isinstance(versions, Exception):
            job.version.set_exception(versions)
        else:
            job.version.set_result(versions[number])
