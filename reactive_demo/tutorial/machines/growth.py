"""How cost grows, and with what: rows, nodes, listeners, viewers, tables.

Each series is short, and runs on the machines of the chapter. These share the cores of one
computer, so a series shows what more of something costs, and not what more computers gain.
"""

import base64
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from redis.crc import key_slot

from reactive_demo.app.profiles import Profiles
from reactive_demo.tutorial.bench.writes import flood
from reactive_demo.tutorial.machines.followed import FollowedTable
from reactive_demo.tutorial.machines.machines import Machines
from reactive_demo.tutorial.machines.plot import Series, draw

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Growth", "Series"]

BACKLOG = 4_000
"""Changes that wait for a listener."""

ROUNDS = 2
"""How often a backlog is measured; the better figure counts."""

IDLE = 1.0
"""Seconds for which idle listeners are watched."""

WRITING, ROWS = 1, 250
"""For how many seconds clients commit as fast as they can, each time to one of so many rows."""


class Growth:
    """The figures: in words as long as it measures, and then as a picture."""

    def __init__(self, machines: Machines) -> None:
        self.series: list[Series] = []
        self.rates: dict[str, float] = {}
        """What one of each can do, in changes a second."""
        self._machines = machines
        self._steps: dict[str, Callable[[], None]] = {
            "rows": self._rows,
            "nodes": self._nodes,
            "listeners": self._listeners,
            "viewers": self._viewers,
            "tables": self._tables,
            "writers": self._writers,
        }
        self.missing = list(self._steps)
        """What is not measured yet."""

    def measure(self) -> None:
        """Measure everything, in fifteen seconds or so; a notebook shows how far it is."""
        self.series.clear()
        self.missing = list(self._steps)
        _show(self)
        while self.missing:
            self._steps[self.missing[0]]()
            del self.missing[0]
            _show(self)

    def png(self) -> bytes:
        """Draw the picture, without a background, for light and dark themes alike."""
        return draw(self.series)

    def __str__(self) -> str:
        """Tell the picture in words."""
        lines = [
            f"{one.title}: {', '.join(f'{y:.3g} {one.unit} with {x:,}' for x, y in one.points)}"
            f" ({one.grows})"
            for one in self.series
        ]
        return "\n".join([*lines, *(f"to be measured: {name}" for name in self.missing)])

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        if self.missing:  # to draw it takes time that the measurements need
            return {"text/plain": str(self)}
        return {"image/png": base64.b64encode(self.png()).decode(), "text/plain": str(self)}

    # The series

    def _rows(self) -> None:
        """Fill the cache with a table that grows, and change one row of it at a time."""
        fills, changes = [], []
        for rows in (1_000, 6_000, 15_000):
            with self._table(f"rows_{rows}", rows) as table:
                began = time.perf_counter()
                with table.listener():
                    fills.append((rows, time.perf_counter() - began))
                    changes.append((rows, 1e3 * table.one_change()))
        self.series.append(Series("filling the cache", "rows in the table", "s", fills))
        self.series.append(Series("one change", "rows in the table", "ms", changes))

    def _nodes(self) -> None:
        """Catch up with as many changes, whose rows are on one, two or three of the nodes."""
        slots = [set(self._machines.redis.slots(one)) for one in self._machines.redis.primaries]
        points = []
        with self._table("nodes", 7 * BACKLOG // 2) as table:
            table.fill()
            for nodes in range(1, len(slots) + 1):
                held = set().union(*slots[:nodes])
                keys = (table.cache.redis_key(str(number)) for number in range(table.rows))
                ids = [n for n, key in enumerate(keys) if key_slot(key.encode()) in held]
                ids = ids[:: len(ids) // BACKLOG or 1][:BACKLOG]
                spent = self._script_time()
                seconds = min(table.catch_up(ids) for _ in range(ROUNDS))
                spent = self._script_time() - spent
                points.append((nodes, 1e6 * seconds / len(ids)))
        self.rates["one listener, catching up"] = len(ids) / seconds
        self.rates["one Redis primary, running scripts"] = ROUNDS * len(ids) / max(spent, 1e-6)
        self.series.append(Series("one change of a backlog", "nodes that hold them", "µs", points))

    def _listeners(self) -> None:
        """See what this process uses while nothing changes, with listeners that stand by."""
        points = []
        with self._table("idle", 1) as table, ExitStack() as listeners:
            listeners.enter_context(table.listener())
            for more, count in ((0, 1), (2, 3), (3, 6)):
                for _ in range(more):
                    listeners.enter_context(table.listener("standby"))
                points.append((count, _idle()))
        self.series.append(Series("doing nothing", "listeners, one leads", "% of a core", points))

    def _viewers(self) -> None:
        """Tell a change to everybody who watches one row."""
        counts = (1, 1_000, 4_000)
        with self._table("viewers", 1) as table, table.listener():
            points = [(count, 1e3 * table.until_seen(count)) for count in counts]
        self.series.append(Series("one change, seen by all", "viewers of its row", "ms", points))

    def _tables(self) -> None:
        """Catch up with as many changes, spread over tables that have a listener each."""
        points = []
        for count in (1, 2, 4):
            with ExitStack() as stack:
                tables = [
                    stack.enter_context(self._table(f"part_{number}_of_{count}", BACKLOG // count))
                    for number in range(count)
                ]
                with ThreadPoolExecutor(count) as threads:
                    list(threads.map(FollowedTable.fill, tables))
                    slowest = max(threads.map(FollowedTable.catch_up, tables))
            points.append((count, 1e6 * slowest / BACKLOG))
        self.series.append(
            Series("one change of a backlog", "tables, a listener each", "µs", points)
        )

    def _writers(self) -> None:
        """Commit as many likes as possible."""
        with Profiles(self._machines.database_url) as profiles:
            profiles.increment_all([(f"user{number}", "likes") for number in range(1, ROWS + 1)])
        rate = flood(self._machines.database_url, WRITING, rows=ROWS)
        self.rates["one PostgreSQL primary, committing"] = rate

    def _table(self, name: str, rows: int) -> FollowedTable:
        return FollowedTable(self._machines.database_url, self._machines.redis_url, name, rows)

    def _script_time(self) -> float:
        """Return the seconds that scripts have taken so far on all Redis primaries."""
        spent = 0
        for node in self._machines.redis.primaries:
            statistics: dict[str, Any] = node.client.info("commandstats")
            spent += sum(facts["usec"] for name, facts in statistics.items() if "eval" in name)
        return spent / 1e6


def _idle() -> float:
    """Return what this process uses while nothing changes, in % of a core."""
    spent, began = time.process_time(), time.perf_counter()
    time.sleep(IDLE)
    return 100 * (time.process_time() - spent) / (time.perf_counter() - began)


def _show(growth: Growth) -> None:
    """In a notebook, show the figures in place of what the cell has shown."""
    with suppress(ImportError):
        from IPython import get_ipython  # noqa: PLC0415
        from IPython.display import clear_output, display  # noqa: PLC0415

        if get_ipython() is not None:
            clear_output(wait=True)  # type: ignore[no-untyped-call]
            display(growth)  # type: ignore[no-untyped-call]
