"""A Redis Cluster and a Sentinel trio, of embedded Valkey servers on this machine.

    with EmbeddedCluster(folder) as cluster:
        Cache(cluster.url)

They serve the course and the tests: loopback ports, no passwords, nothing saved. All processes end
with `stop()`, and on Linux with this process, however that ends.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import redis
from redis.crc import key_slot

from reactive_demo.errors import UnavailableError
from reactive_demo.servers.engines import valkey_programs
from reactive_demo.servers.ports import HOST, free_port

__all__ = ["SLOTS", "EmbeddedCluster", "EmbeddedSentinel", "Node"]

SLOTS = 16_384

PORTS_TRIED = 5

PATIENCE = 30.0
"""Seconds to wait for any one step."""

FAILURE_TIMEOUT = 1_000
"""Milliseconds of silence after which the others take a node to be down."""

UNSAVED = ("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
"""Nothing is kept on disk, and a replica need not wait for others that might join."""

PR_SET_PDEATHSIG = 1


class Node:
    """One server process, on a port of its own, which it keeps over restarts."""

    def __init__(self, folder: Path, *options: object, program: Path | None = None) -> None:
        self.folder = folder
        self._words = [program or valkey_programs() / "valkey-server", *options]
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.bus_port = 0, 0
        self._choose_ports()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """Its own URL; of a cluster's node, that of the whole cluster."""
        return f"redis://{self.address}/0"

    @property
    def runs(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait until it answers. Raises UnavailableError.

        Another program may take a free port first, so a node that is new tries others.
        """
        for _ in range(PORTS_TRIED if self._process is None else 1):
            self._launch()
            _await(f"the server on port {self.port} answers", self._is_decided)
            if self.runs:
                return
            self._choose_ports()
        raise UnavailableError(
            f"The server in {self.folder} did not start: see {self.folder / 'server.log'}."
        )

    def _launch(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        words = [*self._words, "--port", self.port, "--bind", HOST, "--dir", self.folder]
        if "--cluster-enabled" in words:
            words += ["--cluster-port", self.bus_port]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                list(map(str, words)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  (it makes two system calls)
            )

    def _choose_ports(self) -> None:
        self.port, self.bus_port = free_port(), free_port()
        self.client = redis.Redis(
            HOST, self.port, decode_responses=True, socket_timeout=5, socket_connect_timeout=5
        )

    def stop(self) -> None:
        """Stop the process, also one that is frozen; safe to call twice."""
        self.client.close()
        if self.runs:
            self.thaw()
            self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process as a crash does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Suspend the process."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a suspended process go on."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: object) -> Any:
        """Send a command, and return the reply as it is."""
        pool = self.client.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_command(*map(str, words))  # type: ignore[no-untyped-call]
            return connection.read_response()
        finally:
            pool.release(connection)

    def __repr__(self) -> str:
        return f"Node({self.address})"

    def _end(self, by: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(by)
            try:
                self._process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _is_decided(self) -> bool:
        """Return whether it answers, and nobody else at its port; or has ended."""
        if self._process is None or not self.runs:
            return True
        with suppress(redis.RedisError):
            return bool(self.client.info("server")["process_id"] == self._process.pid)
        return False


class _Topology:
    """Several nodes that start and stop together."""

    def __init__(self, folder: Path, program: Path | None = None) -> None:
        self.folder = folder
        self.nodes: list[Node] = []
        self._program = program

    @property
    def url(self) -> str:
        """What REDIS_URL is to be."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start all nodes and join them; if that fails, stop those that run."""
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            self._assemble()
            on_failure.pop_all()
        return self

    def stop(self) -> None:
        """Stop all nodes; safe to call twice."""
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _assemble(self) -> None:
        raise NotImplementedError

    def _new_node(self, name: str, *options: object) -> Node:
        node = Node(self.folder / name, *options, program=self._program)
        self.nodes.append(node)
        return node


def _is_done(node: Node, words: Sequence[object]) -> bool:
    """Send a command; return whether the cluster is up, and it was done."""
    try:
        node.ask(*words)
    except redis.ResponseError as error:
        if "CLUSTERDOWN" in str(error):
            return False
        raise
    return True


class EmbeddedCluster(_Topology):
    """A cluster of `primaries` nodes that share the slots, each with a replica.

    It is ready about 2.5 s after `start()` was called.
    """

    def __init__(
        self,
        folder: Path,
        *,
        primaries: int = 3,
        replicas: bool = True,
        program: Path | None = None,
    ) -> None:
        super().__init__(folder, program)
        self._primaries = primaries
        self._replicas = replicas

    @property
    def url(self) -> str:
        """The addresses of all nodes, as seeds."""
        return "redis://" + ",".join(node.address for node in self.nodes)

    @property
    def primaries(self) -> list[Node]:
        """The nodes that hold slots now."""
        return [node for node in self.nodes if self.slots(node)]

    def slots(self, node: Node) -> list[int]:
        """Return the slots of a node, as another one knows them."""
        found = [
            line.split()
            for line in self._nodes_of(node)
            if line.split()[1].startswith(node.address)
        ]
        ranges = [
            tuple(map(int, words.split("-")))
            for line in found
            if "fail" not in line[2].split(",")
            for words in line[8:]
            if not words.startswith("[")
        ]
        return [slot for span in ranges for slot in range(span[0], span[-1] + 1)]

    def primary_of(self, key: str) -> Node:
        """Return the node that holds a key."""
        slot = key_slot(key.encode())
        return next(node for node in self.primaries if slot in self.slots(node))

    def replica_of(self, primary: Node) -> Node:
        """Return a replica of a primary."""
        name = primary.ask("CLUSTER", "MYID")
        return next(
            node
            for node in self._known(self.nodes)
            for line in self._nodes_of(primary)
            if line.split()[1].startswith(f"{node.address}@") and line.split()[3] == name
        )

    def fail_over(self, primary: Node, *how: str) -> Node:
        """Have a replica take over; `how` may be FORCE or TAKEOVER. Return it."""
        replica = self.replica_of(primary)
        replica.ask("CLUSTER", "FAILOVER", *how)
        _await(f"{replica} has taken over", lambda: replica in self.primaries)
        return replica

    def await_promotion(self, of: Node) -> None:
        """Wait until all slots are served again after `of` was lost."""
        left = [node for node in self.nodes if node is not of and node.runs]

        def done() -> bool:
            return self._agree(left) and of not in self.primaries

        _await("a replica is promoted", done)

    def migrate_slot(self, slot: int, to: Node, *, pause: Callable[[], object] = int) -> None:
        """Move one slot with its keys to another node; `pause` is called half-way."""
        source = next(node for node in self.primaries if slot in self.slots(node))
        if source is to:
            return
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to.ask("CLUSTER", "MYID"))
        pause()
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            move = ["MIGRATE", HOST, to.port, "", 0, 5000, "REPLACE", "KEYS", *keys]
            _await(f"{to} takes keys", partial(_is_done, source, move))
        owner = to.ask("CLUSTER", "MYID")
        for node in (to, source, *self.primaries):
            with suppress(redis.ResponseError):  # without a slot left, it is a replica by now
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", owner)

    def add_node(self, slots: Iterable[int] = ()) -> Node:
        """Add a primary, and give it some slots."""
        known = self._known(self.nodes)
        node = self._new_cluster_node()
        node.start()
        node.ask("CLUSTER", "MEET", HOST, known[0].port, known[0].bus_port)
        _await(f"all know {node}", lambda: self._agree([*known, node]))
        for slot in slots:
            self.migrate_slot(slot, node)
        return node

    def remove_node(self, node: Node) -> None:
        """Give a primary's slots to the first other one, and take it out of the cluster."""
        rest = [other for other in self._known(self.nodes) if other is not node]
        heir = next(other for other in self.primaries if other is not node)
        for slot in self.slots(node):
            self.migrate_slot(slot, heir)
        name = node.ask("CLUSTER", "MYID")
        for other in rest:
            other.ask("CLUSTER", "FORGET", name)
        node.stop()
        self.nodes.remove(node)

    def _assemble(self) -> None:
        primaries = [self._new_cluster_node() for _ in range(self._primaries)]
        replicas = [self._new_cluster_node() for _ in primaries if self._replicas]
        for node in self.nodes:
            node.start()
        bounds = [round(SLOTS * n / len(primaries)) for n in range(len(primaries) + 1)]
        for number, node in enumerate(self.nodes, 1):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number)
        for node, first, after in zip(primaries, bounds, bounds[1:], strict=False):
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", HOST, self.nodes[0].port, self.nodes[0].bus_port)
        _await("the nodes know each other", lambda: self._have_met(self.nodes))
        for primary, replica in zip(primaries, replicas, strict=False):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        _await("all slots are served", lambda: self._agree(self.nodes))
        for node in replicas:
            _await(f"{node} follows", partial(_is_in_step, node))

    def _new_cluster_node(self) -> Node:
        return self._new_node(
            f"node-{len(self.nodes)}-{free_port()}",
            *("--cluster-enabled", "yes"),
            *("--cluster-node-timeout", FAILURE_TIMEOUT, *UNSAVED),
        )

    def _known(self, nodes: Iterable[Node]) -> list[Node]:
        return [node for node in nodes if node.runs]

    def _nodes_of(self, node: Node) -> list[str]:
        """Return what the cluster says of its nodes, asked of any but `node` if possible."""
        for other in sorted(self._known(self.nodes), key=lambda other: other is node):
            with suppress(redis.RedisError):
                return str(other.ask("CLUSTER", "NODES")).splitlines()
        return []

    def _have_met(self, nodes: list[Node]) -> bool:
        return all(
            int(_info(node).get("cluster_known_nodes", 0)) == len(self._known(self.nodes))
            for node in nodes
        )

    def _agree(self, nodes: list[Node]) -> bool:
        """Return whether these nodes find every slot served, and by the same nodes."""
        if not all(_info(node).get("cluster_state") == "ok" for node in nodes):
            return False
        views = [{(a, b, c[1]) for a, b, c, *_ in node.ask("CLUSTER", "SLOTS")} for node in nodes]
        return all(view == views[0] for view in views)


class EmbeddedSentinel(_Topology):
    """A primary with a replica, and three sentinels that promote the one if the other is lost."""

    NAME = "primary"

    @property
    def url(self) -> str:
        """The addresses of the sentinels, and the primary's name."""
        addresses = ",".join(node.address for node in self.sentinels)
        return f"redis+sentinel://{addresses}/{self.NAME}/0"

    @property
    def servers(self) -> list[Node]:
        """The primary that was first, and its replica."""
        return self.nodes[:2]

    @property
    def sentinels(self) -> list[Node]:
        """The three that watch."""
        return self.nodes[2:]

    @property
    def primary(self) -> Node:
        """The primary that the sentinels name now."""
        _, port = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME)
        return next(node for node in self.servers if node.port == int(port))

    def await_promotion(self, of: Node) -> None:
        """Wait until all sentinels name another primary than `of`, and it is one."""
        other = next(node for node in self.servers if node is not of)

        def done() -> bool:
            names = {
                tuple(node.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME))
                for node in self.sentinels
            }
            return names == {(HOST, str(other.port))} and other.ask("ROLE")[0] == "master"

        _await("a replica is promoted", done)

    def _assemble(self) -> None:
        for name in ("server-0", "server-1"):
            self._new_node(name, *UNSAVED).start()
        first, second = self.servers
        second.ask("REPLICAOF", HOST, first.port)
        _await("the replica follows", lambda: _is_in_step(second))
        for number in range(3):
            folder = self.folder / f"sentinel-{number}"
            folder.mkdir(mode=0o700, parents=True)
            configuration = folder / "sentinel.conf"
            configuration.write_text(
                f"sentinel monitor {self.NAME} {HOST} {first.port} 2\n"
                f"sentinel down-after-milliseconds {self.NAME} {FAILURE_TIMEOUT}\n"
                f"sentinel failover-timeout {self.NAME} {6 * FAILURE_TIMEOUT}\n"
            )
            self._new_node(folder.name, configuration, "--sentinel").start()
        for node in self.sentinels:
            _await("the sentinels know each other", partial(self._knows_all, node))

    def _knows_all(self, sentinel: Node) -> bool:
        facts: Any = sentinel.client.sentinel_master(self.NAME)
        return bool((facts["num-other-sentinels"], facts["num-slaves"]) == (2, 1))


def _info(node: Node) -> dict[str, str]:
    """Return what a node says of the cluster; nothing if it does not answer."""
    try:
        lines = str(node.ask("CLUSTER", "INFO")).splitlines()
    except redis.RedisError:
        return {}
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _is_in_step(replica: Node) -> bool:
    role = replica.ask("ROLE")
    return bool(role[0] == "slave" and role[3] == "connected")


def _await(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise UnavailableError(f"Waited {PATIENCE:g} s in vain: {what}.")
        time.sleep(0.02)


def _die_with_parent() -> None:
    """Leave the terminal's group; on Linux, be killed when this process dies."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
