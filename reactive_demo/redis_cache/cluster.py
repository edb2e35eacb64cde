"""A cluster: several servers that hold a part of the keys each, written as one.

To the scripts, each node is a server of its own. In place of the feed's hash it has a **marker**,
in a slot of its own: fencing token and sequence, epoch, cursor. A batch is divided by node, and
each part written, with its marker, by the same script as on a single server. So on every node the
data and the marker move together, through that node's replication too.

The feed's hash, on whichever node it is, says which lease is the newest and where its markers are.
`docs/architecture.md` argues why a fenced leader writes nothing, and nothing is skipped.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from typing import Any, NamedTuple, cast

import redis
from redis import exceptions
from redis.cluster import RedisCluster
from redis.crc import key_slot

from reactive_demo.changes import Batch, Change, Lease, Versioned
from reactive_demo.errors import FencedError
from reactive_demo.exact_json import dump_row
from reactive_demo.redis_cache.client import as_redis_errors, script
from reactive_demo.redis_cache.keys import feed_key, load_key, marker_key, row_key
from reactive_demo.redis_cache.one_server import OneServer, Run
from reactive_demo.redis_cache.rights import MissingRights

__all__ = ["Cluster"]

SLOTS = 16_384

LOOK_INTERVAL = 2.0
"""Seconds between two looks at which node holds which slots."""

SETTLED = 4.0
"""Seconds without a change of that before the cache is filled again."""

REDIRECTS = 5
"""How often the rows of a slot that is being migrated are looked for, before a pause."""

ELSEWHERE = "access a non local key"
"""How a node refuses a script's key that it does not hold, or no longer."""

MOVED = "the cluster's nodes or slots have changed"


class Share(NamedTuple):
    """A node's share of the slots, first and last included."""

    first: int
    last: int
    host: str
    port: int


class Mark(NamedTuple):
    """What a marker says."""

    fence: str
    epoch: str
    cursor: str | None
    slots: frozenset[int]
    """Of all markers of the lease."""

    @property
    def sequence(self) -> int:
        """The number of the last batch that is in its node."""
        return int(self.fence.partition(":")[2] or 0)


class Node(OneServer):
    """A node, as the server of the keys that it holds; its marker is in its slot `slot`."""

    def __init__(self, client: redis.Redis, slot: int, table: str, tombstone_life: float) -> None:
        self.slot = slot
        super().__init__(client, table, tombstone_life)
        self.feed = marker_key(table, tag_of(slot))

    def script(self, *names: str) -> tuple[Run, Run]:
        """Return what runs or sends a script on this node, whatever the slots of its keys."""
        run, sent = super().script("on_a_node.lua", *names)
        return (
            lambda keys, args: run(keys[:1], [len(keys), *keys, *args]),
            lambda keys, args: sent(keys[:1], [len(keys), *keys, *args]),
        )

    def load_key(self, key: str) -> str:
        """Return the key that a reader holds on this node while it loads a row."""
        return load_key(self.table, key, tag_of(self.slot))


class AskedNode(Node):
    """A node to which a slot is being migrated: it takes rows of it that are asked for."""

    def __init__(self, node: OneServer, tombstone_life: float) -> None:
        assert isinstance(node, Node)  # noqa: S101
        super().__init__(node.client, node.slot, node.table, tombstone_life)

    def script(self, *names: str) -> tuple[Run, Run]:
        """Return what runs a script on this node as if the slot were there already."""
        run = script(self.client, "on_a_node.lua", *names)

        def ask(keys: Sequence[str], args: Sequence[Any]) -> Any:
            self.client.script_load(run.script)
            with self.client.pipeline(transaction=False) as batch:
                batch.execute_command("ASKING")  # type: ignore[no-untyped-call]
                batch.evalsha(run.sha, 1, keys[0], len(keys), *keys, *args)
                return batch.execute()[1]

        return ask, ask


class Part:
    """What one server gets of a batch, under its own lease."""

    def __init__(
        self, server: OneServer, batch: Batch, held: Lease, lease: Lease, partial: bool
    ) -> None:
        self.server = server
        self.batch = batch
        self.held = held
        self.stays = partial or held.sequence > lease.sequence
        """Whether the marker stays: more follows, or the node got there and others did not."""
        self.next_sequence = held.sequence if self.stays else held.sequence + 1
        self._reply: Callable[[], int]

    def send(self) -> None:
        """Send it; an error is raised by `reply`."""
        try:
            self._reply = self.server.begin_write(self.batch, self.held, partial=self.stays)
        except redis.RedisError as error:
            failure = error

            def fail() -> int:
                raise failure

            self._reply = fail

    def reply(self) -> int:
        """Wait for the reply; return how many rows were newer."""
        try:
            return self._reply()
        except exceptions.NoScriptError:
            return self.server.write(self.batch, self.held, partial=self.stays)


@dataclass
class Lead:
    """What a leader knows of the cluster, for as long as its lease lasts."""

    token: str
    topology: Sequence[Share]
    nodes: Sequence[Node]
    by_slot: Sequence[Node]
    sequences: dict[OneServer, int]
    """How far each node is, and the server of the feed's hash."""
    is_filled: bool
    """Whether the slots are where they were when the cache was filled last."""
    since: float = field(default_factory=time.monotonic)
    looked: float = field(default_factory=time.monotonic)

    def held(self, part: OneServer, lease: Lease) -> Lease:
        """Return the lease as that part has it."""
        return replace(lease, sequence=self.sequences[part])


class Cluster:
    """The rows of one table in a cluster: like OneServer, which says what the methods do."""

    db = 0

    def __init__(self, client: RedisCluster, table: str, tombstone_life: float) -> None:
        self.client = cast("redis.Redis", client)
        self.table = table
        self.feed = feed_key(table)
        self._cluster = client
        self._tombstone_life = tombstone_life
        self._record = OneServer(self.client, table, tombstone_life)
        self._take_marker = script(self.client, "take_marker.lua")
        self._lead: Lead | None = None
        self._known: tuple[Sequence[Share], Sequence[Node]] = ((), ())
        self._looked = 0.0
        self._unannounced = 0

    @property
    def unannounced(self) -> int:
        """Changes that were written and not published."""
        return self._unannounced + sum(node.unannounced for node in self._known[1])

    def scan(self) -> Iterator[str]:
        """Yield the keys of all nodes."""
        return chain.from_iterable(node.scan() for node in self._look(anew=True)[1])

    def put(self, changes: Sequence[Change]) -> None:
        """Write and publish `changes`, each key on its own: nothing spans several slots."""
        names = [row_key(self.table, change.key) for change in changes]
        with self.client.pipeline(transaction=False) as batch:
            for name, change in zip(names, changes, strict=True):
                batch.delete(name)
                if change.row is not None:
                    batch.hset(name, "row", dump_row(change.row))
            batch.execute()
        try:  # only then: another node may carry the message
            for name, change in zip(names, changes, strict=True):
                message = f'{{"version":null,"row":{dump_row(change.row)},"db":0}}'
                self.client.publish(name, message)
        except exceptions.NoPermissionError:
            self._unannounced += len(changes)

    def acquire_lease(
        self, incarnation: str, *, new_epoch: bool = False, whatever_database: bool = False
    ) -> Lease:
        """Fence the leader before on every node; the cursor is that of the node furthest behind.

        Each marker is replaced only as it was read. So of two leaders that do this at once, at
        most one succeeds.
        """
        topology, nodes = self._look(anew=True)
        lease = self._record.acquire_lease(
            incarnation, new_epoch=new_epoch, whatever_database=whatever_database
        )
        slots = frozenset(share.first for share in _first_shares(topology))
        listed, filled = self._listed()
        marks = self._read_marks(slots | listed)
        newest = max((int(mark.epoch) for mark in marks.values()), default=0)
        if newest > int(lease.epoch) or (marks and not listed):  # the record is lost, or older
            self.client.hset(self.feed, "epoch", str(max(newest, int(lease.epoch))))
            lease = self._record.acquire_lease(
                incarnation, new_epoch=True, whatever_database=whatever_database
            )
        cursor, sequence = None, 0
        complete = listed and all(slot in marks for slot in listed)
        if lease.cursor is not None and complete and _may_resume(marks.values(), lease.epoch):
            behind = min(marks.values(), key=lambda mark: mark.sequence)
            cursor, sequence = behind.cursor, behind.sequence
        token = uuid.uuid4().hex
        fence = f"{token}:{sequence}"
        state = [lease.epoch, incarnation, cursor or "", " ".join(map(str, sorted(slots)))]
        for slot in {*marks, *slots}:
            read = marks[slot].fence if slot in marks else ""
            self._take(slot, read, fence if slot in slots else "", state)
        self._take(None, f"{lease.token}:{lease.sequence}", fence, state)
        division = _division(topology)
        if cursor is None:
            self.client.hset(self.feed, "filled", division)
        by_slot: list[Node] = [nodes[0]] * SLOTS
        for share, node in zip(_first_shares(topology), nodes, strict=True):
            for one in topology:
                if one[2:] == share[2:]:
                    by_slot[one.first : one.last + 1] = [node] * (one.last - one.first + 1)
        record = OneServer(by_slot[slot_of(self.feed)].client, self.table, self._tombstone_life)
        sequences: dict[OneServer, int] = dict.fromkeys((*nodes, record), sequence)
        is_filled = cursor is None or filled == division
        self._lead = Lead(token, topology, nodes, by_slot, sequences, is_filled)
        return Lease(token, lease.epoch, cursor, sequence)

    def write(self, batch: Batch, lease: Lease, *, partial: bool = False) -> int:
        """Write to each node its part of the batch, and to all the marker."""
        if batch.evict_below is not None:
            lead = self._lead_of(lease)
            with self._explained(lead):
                for node in lead.nodes:
                    evict = Batch(batch.state, evict_below=batch.evict_below)
                    node.write(evict, lead.held(node, lease), partial=True)
        return self.begin_write(replace(batch, evict_below=None), lease, partial=partial)()

    def begin_write(
        self, batch: Batch, lease: Lease, *, partial: bool = False
    ) -> Callable[[], int]:
        """Send to each node its part; return what waits for the replies, and does as `write`."""
        lead = self._lead_of(lease)
        rows: dict[OneServer, list[Versioned]] = {server: [] for server in lead.sequences}
        for change in cast("Sequence[Versioned]", batch.changes):
            rows[lead.by_slot[slot_of(row_key(self.table, change.key))]].append(change)
        parts = [
            Part(
                server,
                replace(batch, changes=some),
                lead.held(server, lease),
                lease,
                partial=partial,
            )
            for server, some in rows.items()
        ]
        for part in parts:
            part.send()

        def finish() -> int:
            with self._explained(lead):
                return self._finish(lead, parts)

        return finish

    def forget_cursor(self) -> None:
        """Have the leader fill the cache again."""
        self._record.forget_cursor()

    def has_cursor(self) -> bool:
        """Return whether the cache was filled."""
        return self._record.has_cursor()

    def missing_rights(self, *, versioned: bool = True) -> MissingRights:
        """Return what the account may not do on the first node where it lacks something."""
        found = [node.missing_rights(versioned=versioned) for node in self._look(anew=True)[1]]
        return next(filter(None, found), found[0])

    def evictions(self) -> tuple[int, int]:
        """Return the sums over all nodes."""
        found = [node.evictions() for node in self._look(anew=True)[1]]
        return sum(limit for limit, _ in found), sum(evicted for _, evicted in found)

    def server_of(self, key: str, *, anew: bool = False) -> Node:
        """Return the node that holds a row, as far as is known."""
        due = time.monotonic() - self._looked > LOOK_INTERVAL
        topology, nodes = self._look(anew=anew or due)
        slot = slot_of(row_key(self.table, key))
        owner = next(share for share in topology if share.first <= slot <= share.last)
        addresses = [share[2:] for share in _first_shares(topology)]
        return nodes[addresses.index(owner[2:])]

    def bookkeeping(self) -> list[str]:
        """Return the keys of the feed's hash and of all markers."""
        return [self.feed, *(marker_key(self.table, tag_of(slot)) for slot in self._listed()[0])]

    # Writing

    def _finish(self, lead: Lead, parts: Sequence[Part]) -> int:
        """Take the replies, every one before the first error is raised; return the sum.

        What a node refused because a slot is just being migrated comes last: then it is known how
        far the node is to which it goes.
        """
        newer = 0
        failures: list[Exception] = []
        in_transit: list[Part] = []
        for part in parts:
            try:
                newer += part.reply()
                lead.sequences[part.server] = part.next_sequence
            except (redis.RedisError, FencedError) as error:
                elsewhere = isinstance(error, redis.ResponseError) and ELSEWHERE in str(error)
                (in_transit.append(part) if elsewhere else failures.append(error))
        if failures:
            raise failures[0]
        if in_transit and self._has_moved(lead):
            raise FencedError(MOVED)
        for part in in_transit:
            newer += self._write_in_transit(lead, part.server, part.batch, part.held)
            part.server.write(replace(part.batch, changes=()), part.held, partial=part.stays)
            lead.sequences[part.server] = part.next_sequence
        return newer

    def _lead_of(self, lease: Lease) -> Lead:
        """Return what is known of the cluster under this lease."""
        lead = self._lead
        if lead is None or lead.token != lease.token:
            raise FencedError("another lease was taken")
        self._watch(lead)
        return lead

    @contextmanager
    def _explained(self, lead: Lead) -> Iterator[None]:
        """Raise FencedError for what fails because nodes or slots are not what they were."""
        try:
            yield
        except redis.RedisError as error:
            if self._has_moved(lead):
                raise FencedError(MOVED) from error
            raise

    def _write_in_transit(self, lead: Lead, part: OneServer, batch: Batch, held: Lease) -> int:
        """Write rows some of whose slots are being migrated: what is not here yet is there."""
        newer, rows = 0, cast("Sequence[Versioned]", batch.changes)
        for _ in range(REDIRECTS):
            with part.client.pipeline(transaction=False) as probe:
                for row in rows:
                    probe.hget(row_key(self.table, row.key), "version")
                replies = probe.execute(raise_on_error=False)
            asked: dict[OneServer | Node, list[Versioned]] = {}
            for row, reply in zip(rows, replies, strict=True):
                asked_for = type(reply) is exceptions.AskError  # MovedError is a kind of it
                node = self._node_at(lead, *reply.node_addr) if asked_for else part
                asked.setdefault(node, []).append(row)
            rows = []
            for node, some in asked.items():
                share = replace(batch, changes=some, cursor=None, evict_below=None)
                its = lead.held(node, held)
                try:
                    there = part if node is part else AskedNode(node, self._tombstone_life)
                    newer += there.write(share, its, partial=True)
                except redis.ResponseError as error:
                    if ELSEWHERE not in str(error):
                        raise
                    rows += some  # migrated in between
            if not rows:
                return newer
        raise exceptions.TryAgainError("a slot is being migrated")

    def _node_at(self, lead: Lead, host: str, port: int) -> Node:
        """Return the node of that address; a new one has no marker before it has a slot."""
        for share, node in zip(_first_shares(lead.topology), lead.nodes, strict=True):
            if share[2:] == (host, port):
                return node
        raise exceptions.TryAgainError("a slot is being migrated to a node that is new")

    def _watch(self, lead: Lead) -> None:
        """Look now and then whether all is where it was; if slots have moved, fill once more."""
        now = time.monotonic()
        if now - lead.looked < LOOK_INTERVAL:
            return
        lead.looked = now
        if self._has_moved(lead):
            raise FencedError(MOVED)
        if not lead.is_filled and now - lead.since > SETTLED:
            self.forget_cursor()
            raise FencedError("the cluster's slots have moved: the cache is filled again")

    # The markers

    def _take(self, slot: int | None, read: str, fence: str, state: Sequence[str]) -> None:
        """Replace a marker, or the fence of the feed's hash, if it is what was read."""
        key = self.feed if slot is None else marker_key(self.table, tag_of(slot))
        if self._take_marker(keys=[key], args=[read, fence, *state]) == -1:
            raise FencedError("another listener is taking the lead")

    def _listed(self) -> tuple[frozenset[int], str | None]:
        """Return the slots of the last lease's markers, and the division at the last fill."""
        found = self.client.hmget(self.feed, ["markers", "filled"])
        markers, filled = cast("list[str | None]", found)
        return _numbers(markers), filled

    def _read_marks(self, slots: frozenset[int]) -> dict[int, Mark]:
        """Return the markers that exist in these slots, or that they name."""
        found: dict[int, Mark] = {}
        seen: set[int] = set()
        while new := slots - seen:
            seen |= new
            for slot in new:
                key = marker_key(self.table, tag_of(slot))
                reply = self.client.hmget(key, ["fence", "epoch", "cursor", "markers"])
                fence, epoch, cursor, others = cast("list[str | None]", reply)
                if fence is not None:
                    found[slot] = Mark(fence, epoch or "0", cursor, _numbers(others))
                    slots |= found[slot].slots
        return found

    # The topology

    def _has_moved(self, lead: Lead) -> bool:
        """Return whether other nodes hold the slots than when the lease was taken."""
        with suppress(redis.RedisError):
            return self._look(anew=True)[0] != lead.topology
        return False

    def _look(self, *, anew: bool = False) -> tuple[Sequence[Share], Sequence[Node]]:
        """Return who holds which slots, and the nodes; asked of the cluster if need be."""
        known = self._known
        if anew or not known[1]:
            topology = self._ask()
            self._looked = time.monotonic()
            if topology != known[0]:
                with as_redis_errors():
                    self._cluster.nodes_manager.initialize(disconnect_startup_nodes_pools=False)
                nodes = [self._node(share) for share in _first_shares(topology)]
                self._unannounced = self.unannounced
                self._known = known = topology, nodes
        return known  # another thread may have another view by now

    def _ask(self) -> Sequence[Share]:
        """Ask the nodes, until one answers, which slots each of them holds."""
        failure: redis.RedisError = exceptions.ClusterDownError("not all slots are served")
        for node in self._cluster.get_nodes():  # type: ignore[no-untyped-call]
            try:
                client = self._cluster.get_redis_connection(node)
                reply: Any = client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            except redis.RedisError as error:
                failure = error
                continue
            shares = [
                Share(first, last, str(owner[0] or node.host), owner[1])
                for first, last, owner, *_ in reply
            ]
            if sum(share.last - share.first + 1 for share in shares) == SLOTS:
                return sorted(shares)
        raise failure

    def _node(self, share: Share) -> Node:
        node = self._cluster.get_node(share.host, share.port)  # type: ignore[no-untyped-call]
        if node is None:
            raise exceptions.ClusterDownError(f"{share.host}:{share.port} is not known yet")
        client = self._cluster.get_redis_connection(node)
        return Node(client, share.first, self.table, self._tombstone_life)


def slot_of(name: str) -> int:
    """Return the slot of a Redis key."""
    return int(key_slot(name.encode()))


@cache
def tag_of(slot: int) -> str:
    """Return a hash tag whose keys are in `slot`."""
    return next(str(n) for n in range(1_000_000) if key_slot(str(n).encode()) == slot)


def _first_shares(topology: Sequence[Share]) -> list[Share]:
    """Return the first share of each node, in order."""
    first: dict[Any, Share] = {}
    for share in topology:
        first.setdefault(share[2:], share)
    return list(first.values())


def _division(topology: Sequence[Share]) -> str:
    """Return how the slots are divided, whichever nodes hold the parts: a failover moves none."""
    parts: dict[Any, list[str]] = {}
    for share in topology:
        parts.setdefault(share[2:], []).append(f"{share.first}-{share.last}")
    return " ".join(",".join(ranges) for ranges in parts.values())


def _may_resume(marks: Iterable[Mark], epoch: str) -> bool:
    return all(mark.epoch == epoch and mark.cursor is not None for mark in marks)


def _numbers(text: str | None) -> frozenset[int]:
    return frozenset(map(int, (text or "").split()))
