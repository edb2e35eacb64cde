"""The measurements: each takes `lab.seconds` a point, and is kept in the lab under its name."""

import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial

import psycopg

from reactive_demo.app.profiles import Profiles
from reactive_demo.listener.listener import Applied
from reactive_demo.postgres import open_postgres
from reactive_demo.tutorial.bench import streams
from reactive_demo.tutorial.bench.backlog import article_drained, change, drain
from reactive_demo.tutorial.bench.followers import ARTICLE, DURABLE, PIPELINES
from reactive_demo.tutorial.bench.latency import latencies
from reactive_demo.tutorial.bench.probe import beside, percentile
from reactive_demo.tutorial.bench.writes import flood
from reactive_demo.tutorial.limits.lab import LimitsLab
from reactive_demo.tutorial.limits.picture import NOTHING, WAYS, Curve, Panel, Picture
from reactive_demo.tutorial.limits.published import (
    DEBEZIUM_LATENCY,
    DEBEZIUM_WRITES,
    IDLE_LISTENERS,
)
from reactive_demo.tutorial.web.serve import allow_many_files

__all__ = [
    "measure_backlog",
    "measure_latency",
    "measure_listeners",
    "measure_payload",
    "measure_queue",
    "measure_viewers",
    "measure_writers",
]

Points = list[tuple[float, float]]

WRITERS = (1, 8, 32)
RATES = (100, 1_000, 3_000)
"""Writes a second."""
BACKLOGS = (10, 100, 1_000, 10_000)
"""Changes while the listener was away."""
SIZES = (100, 1_000, 7_000, 70_000)
"""Bytes of a row."""
LISTENERS = (0, 10, 50)
STEPS, STEP = 4, 100
"""How often to look at the queue, and the changes in between: those of `CHANGES`."""
VIEWERS = (10, 100, 400)


def measure_writers(lab: LimitsLab) -> Picture:
    """Measure the transactions a second that some writers get, while each way follows.

    The floor is measured before the others and after them, and the better of the two counts.
    """
    rates: dict[str, Points] = {way: [] for way in WAYS}
    lab.begin((len(WAYS) + 1) * len(WRITERS))
    for way in (*WAYS, NOTHING):
        found = rates[way]
        with lab.following(way):
            for count in WRITERS:
                lab.step(f"{way}: {count} writers")
                found.append((count, flood(lab.places.database_url, lab.seconds, clients=count)))
            if way != NOTHING:
                lab.compare(way)
    before, after = rates[NOTHING][: len(WRITERS)], rates[NOTHING][len(WRITERS) :]
    rates[NOTHING] = list(map(max, before, after))
    bare = dict(rates[NOTHING])
    shares = {way: [(n, rate / bare[n]) for n, rate in found] for way, found in rates.items()}
    ours = [Curve(way, points) for way, points in shares.items()]
    return lab.keep(
        "writers",
        Panel("What they get", "writers", "writes a second", _curves(rates)),
        Panel(
            "What is left of it",
            "writers",
            "no trigger = 1",
            [*ours, Curve.published(DEBEZIUM_WRITES)],
        ),
    )


def measure_latency(lab: LimitsLab) -> Picture:
    """Measure the milliseconds from a commit to the cache, beside so many writes a second."""
    url, curves = lab.places.database_url, []
    lab.begin(len(PIPELINES) * len(RATES))
    for way in PIPELINES:
        points, tails = [], []
        with lab.following(way):
            for rate in RATES:
                lab.step(f"{way}: {rate:,} writes a second")
                write = partial(flood, url, lab.seconds, clients=8, rate=rate)
                taken, reached = beside(lab.places, way, write)
                points.append((reached, statistics.median(taken)))
                tails.append(percentile(taken, 95))
        curves.append(Curve(way, points, tails))
    published = Curve.published(DEBEZIUM_LATENCY)
    y = "ms: median, and 95th percentile"
    return lab.keep(
        "latency",
        Panel(
            "From commit to cache", "writes a second", y, [*curves, published], RATES, log_y=True
        ),
    )


def measure_backlog(lab: LimitsLab) -> Picture:
    """Measure batches and speed of a listener that comes back to so many changes."""
    sizes: dict[str, Points] = {way: [] for way in DURABLE}
    speeds: dict[str, Points] = {way: [] for way in PIPELINES}
    lab.begin(len(PIPELINES) * len(BACKLOGS))
    lab.places.article()
    for count in BACKLOGS:
        lab.step(f"{ARTICLE}, which stayed: {count:,} changes")
        speeds[ARTICLE].append((count, article_drained(lab.places, count)))
    for way in DURABLE:
        with lab.following(way):
            pass  # the cache is full, and the listener leaves
        for count in BACKLOGS:
            lab.step(f"{way}: {count:,} changes")
            change(lab.places, count)
            batches: list[int] = []

            def note(applied: Applied, batches: list[int] = batches) -> None:
                if applied.batch.changes:
                    batches.append(len(applied.batch.changes))

            speeds[way].append((count, count / drain(lab.places, way, note)))
            sizes[way].append((count, statistics.mean(batches)))
    x = "changes while it was away"
    return lab.keep(
        "backlog",
        Panel("Rows in one batch", x, "rows", _curves(sizes), log_y=True),
        Panel("Catching up", x, "changes a second", _curves(speeds), log_y=True),
    )


def measure_payload(lab: LimitsLab) -> Picture:
    """Measure the milliseconds from a commit to the cache, by the size of the row."""
    execute: Callable[..., object] = lab.places.database.execute
    curves = []
    lab.begin(len(PIPELINES) * len(SIZES))
    execute("ALTER TABLE public.profile ADD COLUMN IF NOT EXISTS note text")
    try:
        for way in PIPELINES:
            points: Points = []
            with lab.following(way):
                for size in SIZES:
                    lab.step(f"{way}: {size:,} bytes")
                    try:
                        execute(
                            "INSERT INTO public.profile (username, note) VALUES ('probe', %(note)s)"
                            " ON CONFLICT (username) DO UPDATE SET note = %(note)s",
                            {"note": secrets.token_hex(size // 2)},
                        )
                    except psycopg.errors.InvalidParameterValue:
                        break  # the payload is too long, and the write has failed
                    taken = latencies(lab.places, way, 20 * lab.seconds)
                    points.append((size, statistics.median(taken)))
            curves.append(Curve(way, points))
    finally:
        execute("ALTER TABLE public.profile DROP COLUMN note")
    return lab.keep(
        "payload", Panel("From commit to cache", "bytes in the row", "ms: median", curves)
    )


def measure_listeners(lab: LimitsLab) -> Picture:
    """Measure the notifications a second between two sessions, beside others that listen too."""
    points: Points = []
    lab.begin(len(LISTENERS))
    with ExitStack() as opened:
        idle = 0
        for count in LISTENERS:
            lab.step(f"{count} idle listeners")
            for number in range(idle, count):
                opened.enter_context(_listening(lab, f"idle_{number}"))
            idle = count
            points.append((2 + count, _ping_pong(lab)))
    return lab.keep(
        "listeners",
        Panel(
            "Notifications from session to session",
            "sessions that listen",
            "a second",
            [Curve(ARTICLE, points), Curve.published(IDLE_LISTENERS)],
            log_y=True,
        ),
    )


def measure_queue(lab: LimitsLab) -> Picture:
    """Measure the kB in the notification queue, beside a listening session that reads nothing."""
    curves = []
    lab.begin(len(PIPELINES) * STEPS)
    for way in PIPELINES:
        points: Points = [(0, 0.0)]
        with lab.following(way), psycopg.connect(lab.places.database_url) as stuck:
            stuck.execute("LISTEN elsewhere")
            stuck.commit()
            stuck.execute("SELECT 'a transaction begins, and stays open'")
            before = _queued(lab)
            for step in range(1, STEPS + 1):
                lab.step(f"{way}: {step * STEP:,} changes")
                lab.places.database.execute(CHANGES, prepare=False)
                points.append((step * STEP, _queued(lab) - before))
        curves.append(Curve(way, points))
    return lab.keep(
        "queue", Panel("The notification queue", "changes", "kB in it", curves, log_x=False)
    )


def measure_viewers(lab: LimitsLab) -> Picture:
    """Measure the CPU that an update costs the profile app, and how long it takes to a viewer."""
    allow_many_files()
    stack = lab.stack
    cpu, middle, tail = [], [], []
    lab.begin(len(VIEWERS))
    with (
        closing(Profiles(stack.database_url)) as profiles,
        streams.Server.start(stack.database_url, stack.redis_url) as server,
    ):
        for count in VIEWERS:
            lab.step(f"{count} viewers")
            found = streams.measure(server, count, 40 * lab.seconds, idle=0.1)
            cpu.append((count, found["cpu ms"]))
            middle.append((count, found["p50 ms"]))
            tail.append(found["p95 ms"])
            profiles.delete(f"crowd{count}")
    name = "the app, over the change table"
    return lab.keep(
        "viewers",
        Panel("What an update costs", "viewers", "ms of CPU", [Curve(name, cpu)]),
        Panel(
            "From click to viewer",
            "viewers",
            "ms: median, and 95th percentile",
            [Curve(name, middle, tail)],
        ),
    )


CHANGES = """
DO $$ BEGIN
    FOR n IN 1 .. 100 LOOP
        UPDATE public.profile SET likes_count = likes_count + 1 WHERE username = 'user' || n;
        COMMIT;
    END LOOP;
END $$"""


@contextmanager
def _listening(lab: LimitsLab, channel: str) -> Iterator[psycopg.Connection]:
    """Yield a session that listens to `channel`."""
    with open_postgres(lab.places.database_url, "bench") as connection:
        connection.execute(f"LISTEN {channel}".encode())
        yield connection


def _ping_pong(lab: LimitsLab) -> float:
    """Return how many notifications a second two sessions send each other, in turn."""
    with _listening(lab, "ping") as one, _listening(lab, "pong") as other:
        begun, sent = time.perf_counter(), 0
        while (spent := time.perf_counter() - begun) < lab.seconds / 2:
            for sender, channel, reader in ((other, b"ping", one), (one, b"pong", other)):
                sender.execute(b"NOTIFY " + channel)
                sent += len(list(reader.notifies(timeout=5, stop_after=1)))
    return sent / spent


def _queued(lab: LimitsLab) -> float:
    """Return the kB in the server's queue; its size can be set since PostgreSQL 17."""
    ((kilobytes,),) = lab.places.database.execute(
        "SELECT pg_notification_queue_usage() * 8"
        " * coalesce(current_setting('max_notify_queue_pages', true)::bigint, 1048576)"
    )
    return float(kilobytes)


def _curves(points: dict[str, Points]) -> list[Curve]:
    return [Curve(way, found) for way, found in points.items()]
