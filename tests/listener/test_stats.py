"""What a listener counts, and how long its hops took."""

from collections.abc import Callable

import pytest

from reactive_demo import Cache, Listener, Profiles
from reactive_demo.listener.stats import Hop, Recorder, Stats, Window
from tools.agreement import cache_follows
from tools.waiting import until

Listen = Callable[..., Listener]


def test_a_window_has_the_last_time_and_the_median() -> None:
    window = Window(size=3)
    assert window.hop == Hop()
    for taken in (100, 1, 3, 2):
        window.add(1000, 1000 + taken)
    assert window.hop == Hop(last=2, median=2)


def test_what_is_not_known_is_not_guessed() -> None:
    window = Window()
    window.add(1, 2)
    window.add(None, 2)
    assert window.hop == Hop(last=None, median=1)
    assert repr(window.hop) == "unknown, median 1,000.00 ms"
    assert repr(Hop()) == "unknown"


def test_clocks_that_disagree_make_no_time_negative() -> None:
    window = Window()
    window.add(2, 1)
    assert window.hop.last == 0


def test_latency_is_the_way_from_the_change_to_the_cache() -> None:
    recorder = Recorder()
    recorder.time(changed_at=1.0, heard_at=1.25, applied_at=1.5)
    stats = recorder.stats
    assert (stats.announce.last, stats.apply.last, stats.latency.last) == (0.25, 0.25, 0.5)


def test_two_that_have_counted_the_same_are_equal_however_long_it_took() -> None:
    recorder = Recorder()
    recorder.count(received=2, applied=1)
    recorder.time(1, 2, 3)
    assert recorder.stats == Stats(received=2, applied=1)


def test_it_counts_how_often_it_had_to_catch_up(
    database: str, profiles: Profiles, cache: Cache, listen: Listen
) -> None:
    first = listen(database, cache)
    profiles.increment("ada", "likes")
    cache_follows(profiles, cache, "ada")
    until("all is counted", lambda: first.stats.applied == 1)
    assert first.stats.catch_ups == 1, "it filled the cache"
    first.stop()

    missed_nothing = listen(database, cache)
    assert missed_nothing.stats.catch_ups == 0
    missed_nothing.stop()

    profiles.increment("ada", "likes")
    second = listen(database, cache)
    until("it has caught up", lambda: second.stats.applied == 1)
    for n in (2, 3):
        cache.wait_for("ada", profiles.increment("ada", "likes"))
        until("it goes on", lambda n=n: second.stats.applied == n)
    assert second.stats.catch_ups == 1
    stats = second.stats
    assert stats.latency.last == pytest.approx(stats.announce.last + stats.apply.last)
