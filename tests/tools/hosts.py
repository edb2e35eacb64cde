"""Several machines on one: network namespaces, joined by cables that can be pulled."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from reactive_demo.servers.pair import PostgresPair
from reactive_demo.servers.run_as import RunAs
from tools.redis_server import RedisServer
from tools.required import missing, required
from tools.servers import PostgresServer, Process

__all__ = ["DistantListener", "Hosts", "hosts", "pair_inside", "postgres_inside", "redis_inside"]


class Hosts:
    """Hosts by name, each a network namespace; a cable joins two of them."""

    def __init__(self, ip: str) -> None:
        self._ip = ip
        self._cables: dict[frozenset[str], int] = {}
        self._made: list[str] = []

    def add(self, *names: str) -> None:
        for name in names:
            self._run("netns", "add", self._namespace(name))
            self._made.append(name)
            place = self._namespace(name)
            self._run("-n", place, "link", "set", "lo", "up")
            self._run("-n", place, "addr", "add", f"{self.address(name)}/32", "dev", "lo")

    def join(self, server: str, client: str) -> None:
        """Lay a cable, by which the client reaches `address(server)`."""
        number = len(self._cables) + 1
        self._cables[frozenset((server, client))] = number
        one, other = self._namespace(server), self._namespace(client)
        pair = ("type", "veth", "peer", "name", f"c{number}", "netns", other)
        self._run("link", "add", f"c{number}", "netns", one, *pair)
        for place, end in ((one, 1), (other, 2)):
            self._run("-n", place, "addr", "add", f"10.77.{number}.{end}/24", "dev", f"c{number}")
            self._run("-n", place, "link", "set", f"c{number}", "up")
        self._run("-n", other, "route", "add", self.address(server), "via", f"10.77.{number}.1")

    def address(self, name: str) -> str:
        """The one address of a host."""
        return f"10.77.0.{self._made.index(name) + 1}"

    def source(self, server: str, client: str) -> str:
        """The address by which the server sees the client."""
        return f"10.77.{self._cables[frozenset((server, client))]}.2"

    def cut(self, server: str, client: str) -> None:
        """Pull the cable: nobody is told."""
        self._link(server, client, "down")

    def heal(self, server: str, client: str) -> None:
        self._link(server, client, "up")

    def inside(self, name: str) -> tuple[str, ...]:
        """The words before a command that is to run on that host."""
        return (self._ip, "netns", "exec", self._namespace(name))

    def remove(self) -> None:
        for name in self._made:
            self._run("netns", "delete", self._namespace(name))

    def _link(self, server: str, client: str, state: str) -> None:
        number = self._cables[frozenset((server, client))]
        self._run("-n", self._namespace(server), "link", "set", f"c{number}", state)

    def _namespace(self, name: str) -> str:
        return f"rd-{os.getpid()}-{name}"

    def _run(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True, capture_output=True, text=True)


@contextmanager
def hosts(*names: str) -> Iterator[Hosts]:
    """Hosts for as long as the block lasts; only root can make them, and not in every container."""
    if os.geteuid() != 0:
        missing("namespaces", "only root can make network namespaces: run this test as root")
    if RunAs.for_servers().owner:
        missing("namespaces", "PostgreSQL needs a user namespace here, which is refused: allow it")
    made = Hosts(required("ip"))
    try:
        try:
            made.add(*names)
        except subprocess.CalledProcessError as error:
            missing("namespaces", f"network namespaces cannot be made here: {error.stderr.strip()}")
        yield made
    finally:
        with suppress(subprocess.CalledProcessError):
            made.remove()


def postgres_inside(prefix: Sequence[str], folder: Path) -> PostgresServer:
    """A PostgreSQL on that host, which its neighbours may reach at port 5432."""
    server = PostgresServer(folder, "listen_addresses=*", "fsync=off")
    server._server.prepare()
    _admit(server.data)
    server._account = _inside(prefix, server._account)
    return server


def pair_inside(network: Hosts, *names: str) -> PostgresPair:
    """A primary and its standby, which follows it by another way than these hosts' cables."""
    pair = PostgresPair(settings=["listen_addresses=*", "fsync=off"])
    pair.primary._engine.prepare()
    _admit(pair.primary.folder / "data")
    for node, name in zip(pair.nodes, names, strict=True):
        node._account = _inside(network.inside(name), node._account)
    return pair


def _admit(data: Path) -> None:
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.77.0.0/16 trust\n")


def _inside(prefix: Sequence[str], account: RunAs) -> RunAs:
    return RunAs(prefix=(*prefix, *account.prefix))


LISTEN = """
import sys, time
_, database_url, redis_url, heartbeat, seconds = sys.argv
if float(seconds):
    right = time.time
    time.time = lambda: right() + float(seconds)
from reactive_demo.options import Options
from reactive_demo.tools.services import listen
listen(database_url, redis_url, "profile", options=Options(heartbeat=float(heartbeat)))
"""


class DistantListener(Process):
    """A listener on a host, whose clock is wrong by so many seconds."""

    def __init__(
        self,
        prefix: Sequence[str],
        database_url: str,
        redis_url: str,
        *,
        heartbeat: float,
        clock: float = 0.0,
    ) -> None:
        words = [sys.executable, "-c", LISTEN, database_url, redis_url, str(heartbeat), str(clock)]
        self._process = subprocess.Popen([*prefix, *words], stderr=subprocess.PIPE, text=True)
        self.words = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()


def redis_inside(prefix: Sequence[str], folder: Path) -> RedisServer:
    """A Redis on that host, which its neighbours may reach at port 6379."""
    server = RedisServer(folder, "--save", "", "--port", "6379", "--protected-mode", "no")
    server._words = [*prefix, *server._words]
    return server
