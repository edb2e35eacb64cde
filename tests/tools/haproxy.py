"""HAProxy before several processes of the profile app, in turn and without affinity."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["haproxy"]

CONFIGURATION = """
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  retries 3
  option redispatch
  option abortonclose
listen app
  bind fd@{listening}
  balance roundrobin
  default-server check inter 100ms fall 1 rise 1
"""


@contextmanager
def haproxy(program: str, ports: list[int], folder: Path) -> Iterator[int]:
    """The port of a proxy before these ports of this machine, for as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        text = CONFIGURATION.format(listening=listening.fileno())
        text += "".join(f"  server app{n} 127.0.0.1:{port}\n" for n, port in enumerate(ports))
        settings = folder / "haproxy.cfg"
        settings.write_text(text)
        process = subprocess.Popen(
            [program, "-q", "-f", settings], pass_fds=[listening.fileno()], cwd=folder
        )
        try:
            yield listening.getsockname()[1]
        finally:
            process.terminate()
            process.wait(timeout=20)
