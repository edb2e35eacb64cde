"""What a listener counts, and how long its hops took."""

from contextlib import suppress

from reactive_demo.trace import Tap, Writes

from reactive_demo.listener.stats import Hop, Recorder, Stats, Window


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
    tally = Recorder()
    tally.time(changed_at=1.0, heard_at=1.25, applied_at=1.5)
    stats = tally.stats
    assert (stats.announce.last, stats.apply.last, stats.latency.last) == (0.25, 0.25, 0.5)


def test_two_that_have_counted_the_same_are_equal_however_long_it_took() -> None:
    tally = Recorder()
    tally.count(received=2, applied=1)
    tally.time(1, 2, 3)
    assert tally.stats == Stats(received=2, applied=1)


def test_who_looks_is_told_until_it_ends_it_and_one_that_fails_hurts_nobody() -> None:
    tap: Tap[[int]] = Tap()
    seen: list[int] = []
    assert not tap
    tap.watch(lambda n: [][n])
    end = tap.watch(seen.append)
    tap(1)
    end()
    end()
    tap(2)
    assert seen == [1]


def test_a_write_is_heard_of_once_and_counts_from_its_call() -> None:
    writes = Writes()
    for name in ("ada", "bob"):
        with writes.writing("profile", name):
            pass
    began = writes.heard("profile", ["ada", "bob"])
    assert began is not None
    assert writes.heard("profile", ["ada", "bob"]) is None


def test_a_write_that_failed_or_came_before_the_listener_is_not_heard_of() -> None:
    writes = Writes()
    with suppress(ZeroDivisionError), writes.writing("profile", "ada"):
        _ = 1 / 0
    assert writes.heard("profile", ["ada"]) is None
    with writes.writing("profile", "ada"):
        pass
    assert writes.heard("profile", ["ada"], since=float("inf")) is None


def test_writes_that_cross_are_heard_of_one_by_one() -> None:
    writes = Writes()
    with writes.writing("profile", "ada"):
        with writes.writing("profile", "ada"):
            first = writes.heard("profile", ["ada"])
            second = writes.heard("profile", ["ada"])
            assert first is not None
            assert second is not None
            assert first < second
        assert writes.heard("profile", ["ada"]) is None
