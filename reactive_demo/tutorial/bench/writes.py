"""Transactions a second of 32 writers, each an UPDATE of one of 10,000 rows, by pgbench.

Each statement is parsed and planned anew. With prepared statements the bare UPDATE is half as fast
again, and the same trigger weighs more beside it.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.servers.engines import postgres_programs
from reactive_demo.tutorial.bench.article import consumer
from reactive_demo.tutorial.bench.places import PROFILES, Places

__all__ = ["GOAL", "ROUNDS", "UNIT", "WORK", "flood", "pipelines"]

WORK = "writes by 32 writers (more is better)"
UNIT = "1/s"
GOAL = "ours at least 0.85 alone, 0.65 with the listener"
ROUNDS = (2, 5)

SCRIPT = """\\set n random(1, :profiles)
UPDATE public.profile SET likes_count = likes_count + 1 WHERE username = 'user' || :n;
"""


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return what is compared; the first is the baseline."""
    seconds = 2 if quick else 6

    def under(
        prepare: Callable[[], None], listening: Callable[[], AbstractContextManager[object]]
    ) -> Callable[[], float]:
        def measure() -> float:
            prepare()
            with listening():
                return flood(places.database_url, seconds)

        return measure

    def listener() -> Listener:
        return Listener(ChangeTableFeed(places.database_url), places.cache)

    return {
        "no trigger, no cache": under(places.bare, nullcontext),
        "the article's, with its consumer": under(places.article, lambda: consumer(places)),
        "ours, capture alone": under(places.captured, nullcontext),
        "ours, with the listener": under(places.captured, listener),
    }


def flood(database_url: str, seconds: int) -> float:
    """Have 32 writers write as fast as they can; return the transactions a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT)
        script.flush()
        done = subprocess.run(
            [
                postgres_programs() / "pgbench",
                *("--no-vacuum", "--client=32", "--jobs=2"),
                *(f"--define=profiles={PROFILES}", f"--time={seconds}"),
                *(f"--file={script.name}", database_url),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PGOPTIONS": "-c search_path=pg_catalog"},
        )
    if found := re.search(r"tps = ([\d.]+)", done.stdout):
        return float(found[1])
    raise ReactiveDemoError(f"pgbench failed: {done.stderr.strip().splitlines()[-1:]}")
