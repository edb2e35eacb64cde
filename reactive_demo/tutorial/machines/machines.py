"""The machines of the chapter: a PostgreSQL pair and a Redis Cluster, with names for people."""

from contextlib import suppress
from typing import Self

import psycopg
import redis

from reactive_demo.servers.cluster import EmbeddedCluster, Node
from reactive_demo.servers.pair import PostgresPair
from reactive_demo.servers.topology import Topology
from reactive_demo.tutorial.reruns import close_previous
from reactive_demo.waiting import wait_until

__all__ = ["Machines"]

PATIENCE = 30.0
"""Seconds to wait for any one step."""


class Machines:
    """A primary and its standby, `a` and `b`, and six Redis nodes, `R1` to `R6`.

    A notebook has one of them. All of it is gone after `close()`, or with the kernel.
    """

    def __init__(self) -> None:
        self._topology: Topology | None = None

    def start(self) -> Self:
        """Start all servers, in about five seconds; return itself, for a notebook's one line."""
        close_previous("machines", self)
        self.close()  # a cell may be run again
        self._topology = Topology().start()
        return self

    def close(self) -> None:
        """Stop all servers and remove their data. Safe to call twice."""
        if self._topology is not None:
            self._topology.stop()
            self._topology = None

    @property
    def topology(self) -> Topology:
        """The servers."""
        if self._topology is None:
            raise RuntimeError("The machines are not started: call their `start()`.")
        return self._topology

    @property
    def postgres(self) -> PostgresPair:
        """The pair."""
        return self.topology.postgres

    @property
    def redis(self) -> EmbeddedCluster:
        """The cluster."""
        return self.topology.redis

    @property
    def database_url(self) -> str:
        """What DATABASE_URL would be: it names both hosts."""
        return self.topology.database_url

    @property
    def redis_url(self) -> str:
        """What REDIS_URL would be: it names all six nodes."""
        return self.topology.redis_url

    @property
    def timeline(self) -> int:
        """The primary's timeline: one more after each promotion."""
        with psycopg.connect(self.postgres.primary.url) as connection:
            ((timeline,),) = connection.execute(TIMELINE)
        return int(timeline)

    def name(self, node: Node) -> str:
        """Return the name of a Redis node."""
        return f"R{self.redis.nodes.index(node) + 1}"

    def holder(self, key: str) -> Node:
        """Return the Redis node that holds a key."""
        return self.redis.primary_of(key)

    def cut_line(self) -> None:
        """Have the standby hear nothing more of the primary, which does not notice."""
        with psycopg.connect(self.postgres.standby.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")
        wait_until("the standby hears nothing more", lambda: not self._streams(), PATIENCE)

    def mend(self) -> None:
        """Start what is down, and give the primary a standby again, if that is lost."""
        for node in self.redis.nodes:
            if not node.runs:
                node.start()
        wait_until("each Redis primary has its replica", self._redis_is_whole, PATIENCE)
        self.postgres.primary.start()
        if not self._streams():
            self.postgres.follow()

    def _streams(self) -> bool:
        """Return whether the standby follows the primary."""
        with psycopg.connect(self.postgres.primary.url) as connection:
            return bool(connection.execute("SELECT FROM pg_stat_replication").fetchall())

    def _redis_is_whole(self) -> bool:
        with suppress(redis.RedisError, OSError):
            roles = [node.ask("ROLE") for node in self.redis.nodes]
            states = [node.ask("CLUSTER", "INFO") for node in self.redis.nodes]
            return (
                all("cluster_state:ok" in state for state in states)
                and sum(role[0] == "master" and len(role[2]) == 1 for role in roles)
                == sum(role[0] == "slave" and role[3] == "connected" for role in roles)
                == len(roles) // 2
            )
        return False

    def __repr__(self) -> str:
        if self._topology is None:
            return "Machines(stopped)"
        pair, cluster = self.postgres, self.redis
        lines = [
            f"PostgreSQL {node.name}: {'primary' if node is pair.primary else 'standby'}"
            for node in pair.nodes
        ]
        for node in cluster.nodes:
            slots = cluster.slots(node) if node.runs else []
            what = f"slots {slots[0]:,} to {slots[-1]:,}" if slots else "a replica"
            lines.append(f"Redis {self.name(node)}: {what if node.runs else 'down'}")
        return "\n".join(lines)


TIMELINE = "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
