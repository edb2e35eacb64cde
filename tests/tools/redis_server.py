"""A server that speaks the Redis protocol, of a test's own."""

import signal
import subprocess
from pathlib import Path

import redis

from reactive_demo.servers.engines import valkey_programs
from tools.waiting import until

__all__ = ["RedisServer"]


class RedisServer:
    """Stops, starts again with what it saved last, freezes and thaws: Valkey, or `program`."""

    def __init__(self, folder: Path, *options: str, program: Path | str | None = None) -> None:
        socket = folder / "redis.sock"
        self._words = [program or valkey_programs() / "valkey-server", "--port", "0"]
        self._words += ["--unixsocket", socket, "--dir", folder, *options]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{socket}"

    def start(self) -> None:
        self._process = subprocess.Popen(self._words, stdout=subprocess.DEVNULL)
        until("the server answers", self._answers)

    def stop(self) -> None:
        if self._process:
            self.thaw()
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    def kill(self) -> None:
        """As a crash does: nothing is saved."""
        self._process.kill()
        self._process.wait(timeout=10)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def save(self) -> None:
        """Keep what it holds now: it comes back with that when it is started again."""
        with redis.Redis.from_url(self.url) as client:
            client.save()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False
