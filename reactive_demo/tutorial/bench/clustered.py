"""Changes a second from a backlog into a cluster, beside one server."""

import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from reactive_demo.redis_cache.cache import Cache
from reactive_demo.servers.cluster import EmbeddedCluster
from reactive_demo.tutorial.bench.backlog import COUNTS, drained
from reactive_demo.tutorial.bench.followers import DURABLE
from reactive_demo.tutorial.bench.places import Places

__all__ = ["GOAL", "ROUNDS", "UNIT", "WORK", "pipelines"]

WORK = "changes from a backlog into a Redis cluster (more is better)"
UNIT = "1/s"
GOAL = "three primaries and three replicas on these cores at least 0.5 times one server"
ROUNDS = (1, 3)

CHANGE_TABLE = DURABLE[0]


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return what is compared; the first is the baseline."""
    count = COUNTS[0 if quick else 1]

    def cluster() -> float:
        with (
            tempfile.TemporaryDirectory() as folder,
            EmbeddedCluster(Path(folder)) as nodes,
            closing(Cache(nodes.url, places.cache.table)) as cache,
        ):
            return drained(replace(places, cache=cache), CHANGE_TABLE, count)

    return {
        "one server": lambda: drained(places, CHANGE_TABLE, count),
        "a cluster of 3 + 3 nodes": cluster,
    }
