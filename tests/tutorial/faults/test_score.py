"""How late a cache is: kept by who writes, without servers."""

from reactive_demo.tutorial.faults.score import StalenessTracker


def test_a_row_is_behind_since_the_first_commit_that_it_lacks() -> None:
    truth = StalenessTracker()
    truth.note({"ada": 1}, 10.0)
    truth.note({"ada": 2}, 11.0)
    truth.note({"ada": 3}, 12.0)
    truth.compare({"ada": 1}, 13.0)
    assert truth.behind == {"ada": 2.0}
    truth.compare({"ada": 2}, 13.5)
    assert truth.behind == {"ada": 1.5}
    truth.compare({"ada": 3}, 14.0)
    assert truth.behind == {}
    assert truth.worst == 2.0


def test_a_row_that_is_gone_is_behind_since_it_was_last_seen() -> None:
    truth = StalenessTracker()
    truth.note({"ada": 1}, 10.0)
    truth.compare({"ada": 1}, 20.0)
    truth.compare({"ada": None}, 20.5)
    assert truth.behind == {"ada": 0.5}
    truth.compare({}, 21.0)
    assert truth.behind == {"ada": 1.0}


def test_a_row_that_never_came_is_behind_since_it_was_written() -> None:
    truth = StalenessTracker()
    truth.note({"ada": 0}, 10.0)
    truth.compare({}, 11.0)
    assert truth.behind == {"ada": 1.0}


def test_what_is_noted_twice_or_late_changes_nothing() -> None:
    truth = StalenessTracker()
    truth.note({"ada": 2}, 10.0)
    truth.note({"ada": 1}, 11.0)
    truth.note({"ada": 2}, 12.0)
    truth.compare({"ada": 2}, 13.0)
    assert truth.behind == {}
    truth.compare({"ada": 9}, 13.0)
    assert truth.behind == {}, "a cache may know sooner than who writes"


def test_a_row_that_went_back_is_behind_since_it_was_last_in_order() -> None:
    truth = StalenessTracker()
    truth.note({"ada": 1}, 10.0)
    truth.note({"ada": 2}, 11.0)
    truth.compare({"ada": 2}, 20.0)
    truth.compare({"ada": 0}, 20.5)
    assert truth.behind == {"ada": 0.5}
