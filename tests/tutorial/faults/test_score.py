"""How late a cache is: as tracked by the writer, without servers."""

from reactive_demo.tutorial.faults.score import StalenessTracker


def test_a_row_is_behind_since_the_first_commit_that_it_lacks() -> None:
    tracker = StalenessTracker()
    tracker.record({"ada": 1}, 10.0)
    tracker.record({"ada": 2}, 11.0)
    tracker.record({"ada": 3}, 12.0)
    tracker.compare({"ada": 1}, 13.0)
    assert tracker.behind == {"ada": 2.0}
    tracker.compare({"ada": 2}, 13.5)
    assert tracker.behind == {"ada": 1.5}
    tracker.compare({"ada": 3}, 14.0)
    assert tracker.behind == {}
    assert tracker.worst == 2.0


def test_a_row_that_is_gone_is_behind_since_it_was_last_seen() -> None:
    tracker = StalenessTracker()
    tracker.record({"ada": 1}, 10.0)
    tracker.compare({"ada": 1}, 20.0)
    tracker.compare({"ada": None}, 20.5)
    assert tracker.behind == {"ada": 0.5}
    tracker.compare({}, 21.0)
    assert tracker.behind == {"ada": 1.0}


def test_a_row_that_never_came_is_behind_since_it_was_written() -> None:
    tracker = StalenessTracker()
    tracker.record({"ada": 0}, 10.0)
    tracker.compare({}, 11.0)
    assert tracker.behind == {"ada": 1.0}


def test_what_is_noted_twice_or_late_changes_nothing() -> None:
    tracker = StalenessTracker()
    tracker.record({"ada": 2}, 10.0)
    tracker.record({"ada": 1}, 11.0)
    tracker.record({"ada": 2}, 12.0)
    tracker.compare({"ada": 2}, 13.0)
    assert tracker.behind == {}
    tracker.compare({"ada": 9}, 13.0)
    assert tracker.behind == {}, "a cache may know sooner than the writer"


def test_a_row_that_went_back_is_behind_since_it_was_last_in_order() -> None:
    tracker = StalenessTracker()
    tracker.record({"ada": 1}, 10.0)
    tracker.record({"ada": 2}, 11.0)
    tracker.compare({"ada": 2}, 20.0)
    tracker.compare({"ada": 0}, 20.5)
    assert tracker.behind == {"ada": 0.5}
