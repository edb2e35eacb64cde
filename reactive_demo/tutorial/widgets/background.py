"""Work that a click starts: in a thread, so that the kernel stays free for the next click."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from reactive_demo.errors import ReactiveDemoError

__all__ = ["Background"]


class Background:
    """Runs one piece of work at a time, in a daemon thread.

    It calls `ended` after each piece, with what went wrong or None; `wait` raises that error.
    """

    def __init__(self, name: str, ended: Callable[[BaseException | None], None]) -> None:
        self._name = name
        self._ended = ended
        self._turn = threading.Lock()
        self._newest: Future[None] = Future()
        self._newest.set_result(None)

    def start(self, work: Callable[[], None]) -> None:
        """Start `work`, unless some is running: a second click does nothing."""
        if self._newest.done():
            self.queue(work)

    def queue(self, work: Callable[[], None]) -> None:
        """Start `work` after what is running, in place of whatever else waits."""
        self._newest.cancel()
        self._newest = Future()
        threading.Thread(
            target=self._run,
            args=[work, self._newest],
            name=f"reactive_demo {self._name}",
            daemon=True,
        ).start()

    def wait(self, timeout: float) -> None:
        """Wait until the newest piece of work is done; raise what went wrong.

        Raises ReactiveDemoError after `timeout` seconds.
        """
        if not wait([self._newest], timeout).done:
            raise ReactiveDemoError(f"The {self._name} is not done after {timeout:g} s.")
        self._newest.result()

    def _run(self, work: Callable[[], None], future: "Future[None]") -> None:
        with self._turn:
            if not future.set_running_or_notify_cancel():
                return
            try:
                work()
            except Exception as error:  # noqa: BLE001  (passed on, and raised by `wait`)
                future.set_exception(error)
            else:
                future.set_result(None)
            self._ended(future.exception())
