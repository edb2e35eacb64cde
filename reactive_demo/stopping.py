"""An event that ends a thread's waiting at once, whatever it waits for."""

import selectors
import socket
import threading

__all__ = ["StopEvent"]


class StopEvent(threading.Event):
    """A `threading.Event` that a selector can wait for as well."""

    def __init__(self) -> None:
        super().__init__()
        self._reader, self._writer = socket.socketpair()

    def __del__(self) -> None:
        self._reader.close()
        self._writer.close()

    def set(self) -> None:
        """Set the event and wake whoever waits for it, by `wait` or by `wait_for_data`."""
        super().set()
        self._writer.send(b"\0")

    def wait_for_data(self, connection: int, timeout: float) -> bool:
        """Wait until the file descriptor `connection` is readable; False if it is not.

        Returns early, False, when the event is set; `timeout` is in seconds.
        """
        with selectors.DefaultSelector() as selector:
            for source in (connection, self._reader):
                selector.register(source, selectors.EVENT_READ)
            return any(key.fileobj == connection for key, _ in selector.select(timeout))
