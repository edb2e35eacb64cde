"""What a broker does: it takes messages for a topic, and hands them to the topic's readers."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from reactive_demo.errors import ReactiveDemoError, UnavailableError, first_line

__all__ = ["Broker", "Reader"]

TIMEOUT = 5.0
"""Seconds to wait for an answer."""


class Reader(ABC):
    """A reader of one topic. Closing it tells the broker that it leaves."""

    @abstractmethod
    def read(self, timeout: float = 1.0) -> str | None:
        """Return the next message, or None if there is none within `timeout` seconds."""

    def acknowledge(self) -> None:  # noqa: B027  (most brokers know no acknowledgement)
        """Say that all that was read is done with, and need not come again."""

    @abstractmethod
    def close(self) -> None:
        """Leave."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Broker(ABC):
    """A connection to a broker. Use it from one thread; a closed one connects again."""

    name: ClassVar[str]
    promise: ClassVar[str]
    """What its documentation promises, in a sentence."""
    lost: ClassVar[tuple[type[Exception], ...]]
    """What its client raises when the connection is lost: close, and try again."""

    def __init__(self, url: str) -> None:
        self.url = url

    def check(self) -> None:  # noqa: B027  (the lab's own answer)
        """Raise ReactiveDemoError if it cannot be used."""

    @abstractmethod
    def publish(self, topic: str, body: str, key: str = "", transaction: Any = None) -> bool:
        """Send a message; return when the broker says that it has it: False if it went nowhere.

        Messages of one `key` stay in order. `transaction` is a connection of psycopg's: a broker
        that can makes the message part of what is under way there. All others do not look at it.
        """

    @abstractmethod
    def subscribe(
        self, topic: str, name: str = "reader", share: tuple[int, int] = (0, 1)
    ) -> Reader:
        """Become the reader `name`, who may have been here before.

        Readers of the same name share the messages, if the broker can do that; `share` says which
        of how many this one is.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection, if there is one."""

    def sentence(self, error: Exception) -> ReactiveDemoError:
        """Return the library's error for one of `lost`: what is wrong, then what to do."""
        return UnavailableError(
            f"{self.name} does not answer ({first_line(error)}): start that server."
        )

    def __repr__(self) -> str:
        return self.name
