"""What chapter 10 breaks heals, its checks say so in words, and all of it ends with its process."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from reactive_demo import Cache, ChangeTableFeed, Listener, Profiles
from reactive_demo.tutorial.checks import CheckFailed, patience
from reactive_demo.tutorial.checks import ch10 as checks
from reactive_demo.tutorial.machines.burst import Burst
from reactive_demo.tutorial.machines.growth import Growth
from reactive_demo.tutorial.machines.machines import Machines
from tools.waiting import until

pytestmark = pytest.mark.long

NAMES = [f"user{number}" for number in range(11)] + ["ada"]

HOLD = """
from reactive_demo.tutorial.machines.machines import Machines
print(Machines().start().postgres.folder, flush=True)
input()
"""


def test_a_killed_process_leaves_nothing_behind() -> None:
    words = [sys.executable, "-c", HOLD]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        folder = Path(holder.stdout.readline().strip())
        assert len(servers_in(folder)) >= 8
        holder.send_signal(signal.SIGKILL)
    until("the servers are gone", lambda: not servers_in(folder), timeout=30)
    until("their data is gone", lambda: not folder.exists(), timeout=30)


def servers_in(folder: Path) -> list[psutil.Process]:
    """Return the processes that work in the folder, or name it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd()]
        except psutil.Error:
            continue
        if any(str(folder) in word for word in words):
            found.append(process)
    return found


def test_a_second_start_takes_the_place_of_the_first() -> None:
    first = Machines().start()
    folder = first.postgres.folder
    second = Machines().start()
    try:
        assert repr(first) == "Machines(stopped)"
        assert not folder.exists()
    finally:
        second.close()
    assert repr(second) == "Machines(stopped)"


def test_losses_heal_and_each_check_fails_before_its_step(
    machines: Machines, profiles: Profiles, cache: Cache, listener: Listener
) -> None:
    with patience(0.3):
        fails("this step makes it 12", lambda: checks.is_divided(machines, cache, 12))
        fails("No Redis node was lost", lambda: checks.redis_has_healed(machines, cache))
        fails("No standby was promoted", lambda: checks.postgres_has_healed(machines, cache))
        fails("takes no writes", lambda: checks.former_is_fenced(machines, cache))
        fails("Nobody stands by", lambda: checks.has_taken_over(listener, None))
        fails("should be refused", lambda: checks.refusal(listener))
        fails("still 1", lambda: checks.switched_over(machines, cache, 1, 0))
    profiles.increment_all([(name, "likes") for name in NAMES])
    assert checks.is_divided(machines, cache, 12)

    with Burst(machines, profiles, cache, NAMES) as burst:
        lost = machines.holder("profile:ada")
        lost.kill()
        machines.redis.await_promotion(lost)
    assert not burst.refused
    assert min(burst.standstill.values()) > 0.5  # silence of a second is what the others wait for
    assert checks.redis_has_healed(machines, cache)
    machines.mend()
    assert "down" not in repr(machines)

    machines.cut_line()
    cache.wait_for("ada", profiles.increment("ada", "likes"))
    promised = cache.get("ada")["likes_count"]
    with Burst(machines, profiles, cache, NAMES[:-1]):
        machines.postgres.primary.kill()
        machines.postgres.promote()
    assert checks.postgres_has_healed(machines, cache)
    assert cache.get("ada")["likes_count"] == promised - 1

    former = machines.postgres.standby
    former.start()
    assert checks.former_is_fenced(machines, cache)
    with Listener(ChangeTableFeed(former.url), cache) as stray:
        assert "timeline 00000002" in checks.refusal(stray)

    machines.mend()
    with Listener(ChangeTableFeed(machines.database_url), cache) as standby:
        standby.wait_until("standby")
        with patience(0.3):
            fails("stop it", lambda: checks.has_taken_over(listener, standby))
        listener.stop()
        assert checks.has_taken_over(listener, standby)
        with patience(0.3):
            fails(
                "`kill` lets nothing be shipped",
                lambda: checks.switched_over(machines, cache, 1, 10**9),
            )
        timeline = machines.timeline
        machines.postgres.primary.stop()
        machines.postgres.promote()
        assert checks.switched_over(machines, cache, timeline, promised)


def test_everything_is_measured(machines: Machines) -> None:
    growth = Growth(machines)
    machines.mend()
    fails("Not measured yet: rows, nodes", lambda: checks.is_measured(growth))
    growth.measure()
    assert checks.is_measured(growth)
    assert len(growth.series) == 6
    assert all(cost >= 0 for series in growth.series for _, cost in series.points)
    assert len(growth.rates) == 3
    assert min(growth.rates.values()) > 0
    assert growth.png().startswith(b"\x89PNG")
    assert "one change, seen by all" in str(growth)


def fails(words: str, check: Callable[[], object]) -> None:
    """Expect a check to fail, in these words."""
    with pytest.raises(CheckFailed, match=re.escape(words)):
        check()
