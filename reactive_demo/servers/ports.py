"""Ports for servers that are started again at the same address.

While such a server is away, the system may give its port to a client: even to one that is looking
for the server, and then is connected to itself.
"""

import random
import socket
from contextlib import suppress

__all__ = ["HOST", "free_port"]

HOST = "127.0.0.1"

PORTS = (20_000, 32_000)
"""Below those that the system gives to clients."""


def free_port() -> int:
    """Return a port of loopback that is free now, and that no client is given for a connection."""
    while True:
        port = random.randrange(*PORTS)  # noqa: S311
        with suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port
