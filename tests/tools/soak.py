"""Break a durable pipeline every few seconds for minutes, under traffic, and tell what is wrong.

PYTHONPATH=tests .venv/bin/python tests/tools/soak.py --feed log --minutes 5
"""

import argparse
import itertools
import sys
import threading
import time
from typing import Self

import psutil
import psycopg

from reactive_demo.tutorial.faults import FAULTS, FaultLab, break_it
from tools.databases import retained

MB = 1024**2

ALONE = "Deliver again"
"""The fault that counts what the cache refuses: other writes would hide it."""


def soak(feed: str, seconds: float, every: float) -> bool:
    """Return whether nothing was lost and nothing stayed wrong."""
    memory = psutil.Process().memory_full_info
    first, lost, kept = 0.0, 0, []
    begun = time.monotonic()
    with FaultLab(feed=feed) as lab, Traffic(lab) as traffic:
        for number, fault in enumerate(itertools.cycle(FAULTS)):
            if (now := time.monotonic() - begun) > seconds:
                break
            traffic.may_flow(fault.name != ALONE)
            outcome = break_it(lab, fault)
            traffic.may_flow(True)
            lost += outcome.durable.lost
            with lab.connect() as connection:
                kept.append(retained(connection) / MB)
            uss = memory().uss / MB
            if number == len(FAULTS):
                first = uss  # each fault was there once
            print(
                f"{now:5.0f} s  {fault.name:18} lost {outcome.durable.lost}, late "
                f"{outcome.durable.worst:.1f} s, {uss:.0f} MB, slot {kept[-1]:.2f} MB",
                flush=True,
            )
            time.sleep(max(0.0, every * (number + 1) - (time.monotonic() - begun)))
        traffic.end()
        wrong = lab.durable.await_quiescence()
        with lab.connect() as connection:
            kept.append(retained(connection) / MB)
        lab.check()
        stats = lab.durable.listener.stats
    print(
        f"{number} faults, {traffic.written:,} transactions, {stats.reconnects} reconnects: "
        f"{lost} lost, {wrong} wrong, memory {first:.0f} -> {uss:.0f} MB, slot at most "
        f"{max(kept):.2f} MB behind, in the end {kept[-1]:.2f} MB"
    )
    return not (lost or wrong)


class Traffic:
    """A writer that likes all profiles of the durable side, again and again."""

    def __init__(self, lab: FaultLab) -> None:
        self._lab = lab
        self._over = threading.Event()
        self._flows = threading.Event()
        self._flows.set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.written = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    def may_flow(self, flows: bool) -> None:
        """Pause, or go on."""
        (self._flows.set if flows else self._flows.clear)()

    def end(self) -> None:
        self._over.set()
        self._flows.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with self._lab.connect() as connection:
                    while self._flows.wait() and not self._over.wait(0.02):
                        self._lab.durable.write(connection)
                        self.written += 1
            except psycopg.Error:
                self._over.wait(0.1)  # the server is away


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feed", default="log")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--every", type=float, default=5, help="seconds from fault to fault")
    options = parser.parse_args()
    sys.exit(0 if soak(options.feed, 60 * options.minutes, options.every) else 1)
