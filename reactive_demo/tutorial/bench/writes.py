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
from functools import partial

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.servers.engines import postgres_programs
from reactive_demo.tutorial.bench.followers import ARTICLE, DURABLE, PEERS, following
from reactive_demo.tutorial.bench.places import PROFILES, Places

__all__ = ["GOAL", "ROUNDS", "UNIT", "WORK", "flood", "pipelines"]

WORK = "writes by 32 writers (more is better)"
UNIT = "1/s"
GOAL = "the change table at least 0.70 alone and 0.60 with its listener, the log at least 0.85"
ROUNDS = (1, 5)

CLIENTS = 32

SCRIPT = """\\set n random(1, :profiles)
UPDATE public.profile SET likes_count = likes_count + 1 WHERE username = 'user' || :n;
"""


def pipelines(places: Places, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return what is compared; the first is the baseline."""
    seconds = 1 if quick else 6

    def under(
        prepare: Callable[[], None], listening: Callable[[], AbstractContextManager[object]]
    ) -> Callable[[], float]:
        def measure() -> float:
            prepare()
            with listening():
                return flood(places.database_url, seconds)

        return measure

    def followed(pipeline: str) -> Callable[[], float]:
        return under(partial(places.prepare, pipeline), partial(following, places, pipeline))

    return {
        "no trigger, no cache": under(places.bare, nullcontext),
        "the article's, with its consumer": followed(ARTICLE),
        "the change table, capture alone": under(places.captured, nullcontext),
        **{f"{pipeline}, with the listener": followed(pipeline) for pipeline in DURABLE},
        **{f"{peer}, with a handler": followed(peer) for peer in PEERS},
    }


def flood(
    database_url: str,
    seconds: int,
    *,
    clients: int = CLIENTS,
    rate: int | None = None,
    rows: int = PROFILES,
) -> float:
    """Have writers write as fast as they can, or at a `rate`; return the transactions a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT)
        script.flush()
        done = subprocess.run(
            [
                postgres_programs() / "pgbench",
                *("--no-vacuum", f"--client={clients}", "--jobs=2"),
                *(f"--rate={n}" for n in (rate,) if n),
                *(f"--define=profiles={rows}", f"--time={seconds}"),
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
