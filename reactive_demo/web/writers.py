"""Writes of the database beside the loop: in threads, so that one that waits holds up nobody else.

`Profiles` is the one write side of this package; it waits as any thread may, and a loop may not.
"""

import asyncio
import threading
from contextlib import suppress
from queue import SimpleQueue

from reactive_demo.profiles import CONNECTIONS, Profiles

__all__ = ["Writers"]

Job = tuple[str, str, "asyncio.Future[int | None]"]


class Writers:
    """As many threads as `Profiles` has connections. They end with `close()`, or the process."""

    def __init__(self, database_url: str) -> None:
        self._profiles = Profiles(database_url)
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        for _ in range(CONNECTIONS):
            threading.Thread(target=self._run, name="reactive_demo write", daemon=True).start()

    def increment(self, username: str, counter: str) -> "asyncio.Future[int | None]":
        """What `Profiles.increment` does, when a thread is free."""
        future: asyncio.Future[int | None] = self._loop.create_future()
        self._jobs.put((username, counter, future))
        return future

    def close(self) -> None:
        """Let the threads end when they have done what they are at."""
        for _ in range(CONNECTIONS):
            self._jobs.put(None)

    def _run(self) -> None:
        while job := self._jobs.get():
            username, counter, future = job
            error: Exception | None = None
            version = None
            try:
                version = self._profiles.increment(username, counter)
            except Exception as raised:  # noqa: BLE001  (who waits for the future gets it)
                error = raised
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(_settle, future, version, error)
        self._profiles.close()


def _settle(
    future: "asyncio.Future[int | None]", version: int | None, error: Exception | None
) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(version)
    else:
        future.set_exception(error)
