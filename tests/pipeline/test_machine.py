"""The change table's session in the state machine: it finds no mistake, and each that is put in.

That the machine would find one is tested too: each mutation takes one idea out of the pipeline.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hypothesis import Phase
from hypothesis.errors import Flaky
from psycopg import sql

from reactive_demo import Cache, ChangeTableFeed
from reactive_demo.changes import Batch
from reactive_demo.feeds.change_table import ChangeTableSession
from reactive_demo.feeds.cursor import Cursor
from reactive_demo.options import Options
from reactive_demo.waiting import StopEvent
from tools.machine import Pipeline, run

SMALL = Options(heartbeat=0, max_poll=0.001, idle_poll=0.001, batch_rows=2, page_rows=3)
"""Small batches, with a sign of life after each."""


class Watched(ChangeTableSession):
    """A session whose moments are open to the machine, and that may not oversleep."""

    def __init__(self, feed: "WatchedFeed") -> None:
        super().__init__(feed)
        # An open TRUNCATE would block the reader, and with it the one thread that could end it.
        self.connection.execute("SET lock_timeout = '5ms'")
        self.machine = feed.machine
        self.moment = feed.machine.moment
        self.reached = 0
        self._looking = psycopg.connect(
            feed.database_url, autocommit=True, options="-c lock_timeout=5ms"
        )

    def __exit__(self, *exc: object) -> None:
        self._looking.close()
        super().__exit__(*exc)

    def _arm(self) -> bool:
        self.moment("before it arms")
        armed = super()._arm()
        self.moment("armed")
        if not armed and self.machine.fenced and not self._has_unseen():
            self.reached += (
                1  # as good as asleep: the fenced leader does not know yet, and holds the bell
            )
        return armed

    def _sleep(self, stopping: StopEvent, timeout: float) -> bool:
        del timeout
        self.moment("asleep")
        if self._has_unseen():
            assert super()._sleep(stopping, 1), "it sleeps, and nobody rang"
            return True
        self.reached += 1
        return super()._sleep(stopping, 0)

    may_repeat = False

    def rests(self, goal: int) -> bool:
        del goal
        return self.reached > 0

    def _has_unseen(self) -> bool:
        """Whether there is something to read, as another connection sees it."""
        parameters = {**self._statements.table.parameters, **self._cursor.parameters, "some": 1}
        row = self._looking.execute(self._statements["some_changes_since"], parameters).fetchone()
        return row is not None and (row[0], row[-1]) != (None, None)


class WatchedFeed(ChangeTableFeed):
    """Opens sessions for a machine."""

    def __init__(self, machine: Pipeline) -> None:
        super().__init__(machine.database, options=SMALL)
        self.machine = machine

    def open(self) -> Watched:
        return self.machine.session(self)


@pytest.fixture
def pipeline(database: str, valkey_url: str) -> Callable[..., type[Pipeline]]:
    """Make a machine, of a mutated pipeline if need be."""

    def make(**parts: Any) -> type[Pipeline]:
        parts = {name: staticmethod(p) if name == "mutate" else p for name, p in parts.items()}
        common = {
            "database": database,
            "redis_url": valkey_url,
            "session": Watched,
            "feed_class": WatchedFeed,
            "moments": ["before it arms", "armed", "asleep"],
        }
        return type("Machine", (Pipeline,), common | parts)

    return make


@pytest.mark.parametrize("examples", [6, pytest.param(100, marks=pytest.mark.long)])
def test_nothing_goes_back_and_all_is_equal_in_the_end(pipeline: Any, examples: int) -> None:
    run(pipeline(), examples, phases=(Phase.generate, Phase.shrink))


# Mutations


def script(old: str, new: str = "") -> Callable[[Cache], None]:
    """The script that writes a batch, with some of its text replaced."""

    def mutate(cache: Cache) -> None:
        store = cache._store
        text = store._apply.script
        assert old in text
        store._apply = store.client.register_script(text.replace(old, new))

    return mutate


class ArmsAfterTheLastRead(Watched):
    armed_now = False

    def _arm(self) -> bool:
        self.armed_now = super()._arm()
        return self.armed_now

    def _read(self) -> Iterator[Batch]:
        if not self.armed_now:
            yield from super()._read()
        self.armed_now = False


class StoresTheCursorFirst(Watched):
    def _read(self) -> Iterator[Batch]:
        batches = list(super()._read())
        if batches:
            yield replace(batches[-1], changes=())
            yield from (replace(batch, cursor=None) for batch in batches)


class SequenceCursor(Cursor):
    """What is greater than the greatest version seen; it is not even forgotten."""

    greatest = 0

    @property
    def parameters(self) -> dict[str, Any]:
        return {**Cursor.parameters.fget(self), "greatest": SequenceCursor.greatest}


class FollowsASequence(Watched):
    def __init__(self, feed: WatchedFeed) -> None:
        super().__init__(feed)
        for name in ("changes_since", "some_changes_since"):
            text = self._statements[name].as_string(self.connection)
            text, count = re.subn(
                r"(?<= AND )xid >= %\(xmax\)s::xid8", "version > %(greatest)s", text
            )
            assert count == 1
            text, count = re.subn(
                r"xid = ANY \(%\(in_progress\)s::xid8\[\]\)(?= *\n *UNION)", "false", text
            )
            assert count == 1
            self._statements._made[name] = sql.SQL(text).format()

    def _read(self) -> Iterator[Batch]:
        self._cursor = SequenceCursor(self._cursor.snapshot)
        for batch in super()._read():
            versions = [int(change.version) for change in batch.changes]
            SequenceCursor.greatest = max([SequenceCursor.greatest, *versions])
            yield batch

    def _has_unseen(self) -> bool:
        self._cursor = SequenceCursor(self._cursor.snapshot)
        return super()._has_unseen()


@pytest.mark.long
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(
            {"mutate": script("return less(held, stamp)", "return true")},
            id="version guard",
        ),
        pytest.param(
            {"mutate": script("if redis.call('HGET', feed, 'fence') ~= fence then return -1 end")},
            id="fence",
        ),
        pytest.param({"mutate": script("redis.call('PERSIST', key)")}, id="PERSIST"),
        pytest.param({"session": StoresTheCursorFirst}, id="data before the cursor"),
        pytest.param({"session": ArmsAfterTheLastRead}, id="a read after arming"),
        pytest.param({"session": FollowsASequence}, id="the snapshot as cursor"),
    ],
)
def test_the_machine_finds_a_pipeline_without(pipeline: Any, parts: dict[str, Any]) -> None:
    # Found is found, also where servers make it come out otherwise when it is tried again.
    with pytest.raises((AssertionError, Flaky)):
        run(pipeline(**parts), 300, phases=(Phase.generate,))
