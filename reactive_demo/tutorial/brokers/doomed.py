"""A reader in a process of its own: it takes one message, and is killed before it is done with it.

python -m reactive_demo.tutorial.brokers.doomed CLASS URL TOPIC
"""

import subprocess
import sys
from importlib import import_module

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.tutorial.brokers.broker import Broker

__all__ = ["Doomed"]


class Doomed:
    """Another process that has subscribed as `reader`."""

    def __init__(self, broker: Broker, topic: str) -> None:
        kind = type(broker)
        words = [sys.executable, "-m", __name__, f"{kind.__module__}:{kind.__name__}"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [*words, broker.url, topic], stdin=pipe, stdout=pipe, text=True
        )
        self._expect("ready")

    def take(self, body: str) -> None:
        """Wait until it has taken this message."""
        self._expect(body)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._process.kill()
        self._process.communicate()

    def _expect(self, word: str) -> None:
        if self._process.stdout is None or self._process.stdout.readline() != f"{word}\n":
            self.kill()
            raise ReactiveDemoError(f"The reader did not come as far as {word!r}: run it again.")


def main() -> None:
    """Subscribe, take a message, and wait for the end."""
    _, kind, url, topic = sys.argv
    module, _, name = kind.partition(":")
    broker: Broker = getattr(import_module(module), name)(url)
    reader = broker.subscribe(topic)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdout.write(f"{reader.read(30)}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
