"""What can go wrong, done for real: to both pipelines, with a sentence about what was done."""

import json
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from reactive_demo.changes import Batch, Lease, State, Versioned
from reactive_demo.errors import FencedError
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.redis_cache.keys import feed_key
from reactive_demo.tutorial.faults.lab import FaultLab
from reactive_demo.tutorial.faults.pipeline import NAMES, Pipeline
from reactive_demo.waiting import wait_until

__all__ = ["FAULTS", "Fault"]

FREEZE = 1.5
"""Seconds for which Redis answers nobody."""

LARGE = 9_000
"""Bytes of a row that is too large; a notification carries fewer than 8,000."""

BURST = 50
"""Likes for each profile in a burst."""

WRITERS = 2
"""Threads that write a burst."""

RECONNECT_DELAY = 0.2
"""Seconds added to a round trip while a listener reconnects, as if PostgreSQL were far away."""

LISTENERS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = ANY (%s)
"""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong."""

    name: str
    """The text of its button."""
    watch: str
    """What to watch, in a sentence."""
    act: Callable[[FaultLab], str]
    """Does it, and returns a sentence about what was done."""
    loses: bool
    """Whether the article's way must lose something."""

    def __repr__(self) -> str:
        return f"Fault({self.name})"


def kill_the_listener(lab: FaultLab) -> str:
    """Terminate the listeners' sessions, and write before they are back."""
    names = [
        f"reactive_demo {work} {pipeline.table}"
        for pipeline in lab.pipelines
        for work in ("listen", "stream")
    ]
    with lab.connect() as connection:

        def ended() -> bool:
            found = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY (%s)",
                [victims],
            )
            return not found.fetchall()

        victims = [pid for (pid,) in connection.execute(LISTENERS, [names]).fetchall()]
        for pipeline in lab.pipelines:
            pipeline.wire.delay = RECONNECT_DELAY
        wait_until("the listeners' sessions have ended", ended)
        lab.write()
    for pipeline in lab.pipelines:
        pipeline.wire.delay = 0.0
    return (
        "Each listener's session was terminated, and every profile got a like before the listener "
        "had reconnected."
    )


def cut_the_wire(lab: FaultLab) -> str:
    """Cut the listeners' connections to PostgreSQL, write, and restore them."""
    for pipeline in lab.pipelines:
        pipeline.wire.cut()
    for pipeline in lab.pipelines:
        pipeline.listener.wait_until(State.CONNECTING)
    lab.write()
    for pipeline in lab.pipelines:
        pipeline.wire.restore()
    for pipeline in lab.pipelines:
        pipeline.listener.wait_until(State.LIVE)
    return (
        "The wire between each listener and PostgreSQL was cut, every profile got a like, and "
        "the wire was restored."
    )


def freeze_redis(lab: FaultLab) -> str:
    """Freeze Redis, and write meanwhile."""
    lab.servers.freeze_redis(FREEZE)
    lab.write()
    lab.write()
    lab.servers.await_redis()
    return "Redis did not answer for a while, and every profile got two likes meanwhile."


def empty_redis(lab: FaultLab) -> str:
    """Empty Redis, and write nothing."""
    lab.servers.empty_redis()
    wait_until("the durable cache is filled again", lambda: not lab.durable.look().stale, 10)
    return "Redis lost everything, as after a restart without a snapshot; nothing was written."


def stop_postgres(lab: FaultLab) -> str:
    """Stop PostgreSQL abruptly; the application is back before the listeners."""
    lab.servers.stop_postgres()
    with lab.servers.await_postgres(lab.database_url) as connection:
        for pipeline in lab.pipelines:
            pipeline.write(connection)
    for pipeline in lab.pipelines:
        pipeline.listener.wait_until(State.LIVE, 20)
    return (
        "PostgreSQL was stopped abruptly and started again; as soon as it answered, every profile "
        "got a like."
    )


def hold_a_transaction(lab: FaultLab) -> str:
    """Write one profile in a transaction that commits after the writes of all others."""
    slow, *others = NAMES
    with lab.connect() as waiting, lab.connect() as connection:
        for pipeline in lab.pipelines:
            waiting.execute("BEGIN")
            pipeline.write_uncommitted(waiting, [slow])
            pipeline.write(connection, others)
            _until_only(pipeline, {slow})
            waiting.execute("COMMIT")
            pipeline.record(connection)
    return (
        f"A transaction changed {slow}, and committed only after the nine others were liked and "
        "cached."
    )


def write_a_large_row(lab: FaultLab) -> str:
    """Write a row that is too large for a notification."""
    answers = []
    with lab.connect() as connection:
        for pipeline in lab.pipelines:
            try:
                pipeline.write_bio(connection, NAMES[0], "x" * LARGE)
            except psycopg.errors.InvalidParameterValue as error:
                pipeline.refused += 1
                answers.append(f"refused the {pipeline.name}'s ({error.diag.message_primary})")
            else:
                answers.append(f"accepted the {pipeline.name} one's")
    return (
        f"The application wrote a row of {LARGE:,} bytes to each table.\n"
        f"PostgreSQL {' and '.join(answers)}."
    )


def deliver_again(lab: FaultLab) -> str:
    """Deliver old changes again: late, twice, and after newer ones."""
    with lab.connect() as connection:
        _repeat_notifications(lab.article, connection)
        again = _repeat_reading(lab.durable, connection)
    return (
        "Every profile got a like; then the notifications from before it were sent again, twice.\n"
        f"The durable side was set back, and {again};\n"
        "a batch of a listener that no longer leads was turned away."
    )


def burst(lab: FaultLab) -> str:
    """Write as fast as possible."""

    def write(_: int) -> None:
        with lab.connect() as connection:
            for _ in range(BURST // WRITERS):
                for name in NAMES:
                    for pipeline in lab.pipelines:
                        pipeline.write(connection, [name])

    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(write, range(WRITERS)))
    return f"{BURST * len(NAMES):,} transactions wrote to each table, as fast as possible."


def _until_only(pipeline: Pipeline, late: AbstractSet[str]) -> None:
    """Wait until no profile other than `late` is behind."""
    wait_until(f"the other profiles are cached ({pipeline.name})", lambda: pipeline.late() <= late)


def _repeat_notifications(pipeline: Pipeline, connection: "psycopg.Connection[Any]") -> None:
    """Repeat what the trigger said before the last change: anyone may NOTIFY."""
    rows = connection.execute(
        sql.SQL("SELECT row_to_json(t) FROM {} t WHERE username LIKE 'user %'").format(
            sql.Identifier("public", pipeline.table)
        )
    )
    before = [json.dumps({"operation": "UPDATE", "row": row}) for (row,) in rows.fetchall()]
    pipeline.write(connection)
    wait_until("the likes are cached", lambda: not pipeline.late())
    for payload in [*before, *before]:
        connection.execute("SELECT pg_notify('profile_change', %s)", [payload])


def _repeat_reading(pipeline: Pipeline, connection: "psycopg.Connection[Any]") -> str:
    """Make the leader read everything again; return what came of it.

    The cache refuses what it has. A slot may have let go of that part of the log, as it is told
    about once a second: then the cache is filled again.
    """
    feed = feed_key(pipeline.table)
    with open_redis(pipeline.cache.redis_url) as client:
        before = client.hgetall(feed)
        pipeline.write(connection)
        wait_until("the likes are cached", lambda: not pipeline.late())
        refused = pipeline.listener.stats.refused
        with client.pipeline(transaction=True) as back:
            back.hset(feed, "cursor", before["cursor"])
            back.hdel(feed, "fence")
            back.execute()
    pipeline.write(connection, NAMES[:1])  # so that the leader notices at once
    token, _, sequence = before["fence"].partition(":")
    late = Batch(
        State.LIVE, [Versioned(NAMES[0], '{"username":"user 1","likes_count":-1,"bio":""}', "1")]
    )
    with suppress(FencedError):
        pipeline.cache.write(late, Lease(token, before["epoch"], None, int(sequence)))
        raise AssertionError("an old leader's batch was taken")

    def again() -> int:
        return pipeline.listener.stats.refused - refused

    def is_filled() -> bool:
        with open_redis(pipeline.cache.redis_url) as client:
            epoch, cursor = client.hmget(feed, "epoch", "cursor")
        return epoch != before["epoch"] and cursor is not None

    wait_until("it was read again", lambda: again() >= len(NAMES) - 1 or is_filled(), 10)
    if is_filled():
        return "was filled again, since the slot had let go of that part of the log"
    return f"refused {again()} changes that it read again and had already"


FAULTS = (
    Fault(
        "Kill the listener",
        "Both listeners are back at once and say live. Only one of them asks what it missed.",
        kill_the_listener,
        loses=True,
    ),
    Fault(
        "Cut the wire",
        "Both reconnect when the wire is restored; the numbers of one side stay behind.",
        cut_the_wire,
        loses=True,
    ),
    Fault(
        "Freeze Redis",
        "Both wait and keep what they have: changes are late, but none is lost.",
        freeze_redis,
        loses=False,
    ),
    Fault(
        "Empty Redis",
        "One side is filled again within two seconds; the other stays empty until a profile "
        "happens to change.",
        empty_redis,
        loses=True,
    ),
    Fault(
        "Stop PostgreSQL",
        "What is committed before a listener is back is announced to nobody.",
        stop_postgres,
        loses=False,  # it usually does, but its listener may be back before the application
    ),
    Fault(
        "Long transaction",
        "Neither side waits for it, and neither misses it: it is read when it commits.",
        hold_a_transaction,
        loses=False,
    ),
    Fault(
        "Row too large",
        "On one side the application's write itself fails.",
        write_a_large_row,
        loses=True,
    ),
    Fault(
        "Deliver again",
        "One side believes whatever comes last, however old; the other compares versions.",
        deliver_again,
        loses=True,
    ),
    Fault(
        "Burst",
        "Both keep up, or fall behind for a moment; in the end, all numbers are right.",
        burst,
        loses=False,
    ),
)
"""All faults, in the order of their buttons."""
