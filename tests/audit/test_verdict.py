"""What differs, what is wrong and what a sample tells: pure functions."""

import pytest

from reactive_demo.changes import Versioned
from reactive_demo.tools.audit import Kind, Look, Report
from reactive_demo.tools.audit.verdict import Pair, bounds, differs, nines, wrong


def pair(
    stored: str | None, held: str | None, stored_version: str = "1", held_version: str = "1"
) -> Pair:
    return Pair(Versioned("k", stored, stored_version), Versioned("k", held, held_version))


@pytest.mark.parametrize(
    ("stored", "held"),
    [
        (None, None),
        ('{"a":1}', '{"a": 1}'),
        ('{"a":1,"b":2}', '{"b":2,"a":1}'),
        ('{"a":1.10}', '{"a":1.1}'),
        ('{"a":"é"}', '{"a":"\\u00e9"}'),
    ],
)
def test_what_says_the_same_does_not_differ(stored: str | None, held: str | None) -> None:
    assert differs(pair(stored, held)) is None


@pytest.mark.parametrize(
    ("stored", "held", "kind", "words"),
    [
        ('{"a":1}', None, Kind.MISSING, "is in the table, but not in the cache"),
        (None, '{"a":1}', Kind.EXTRA, "is in the cache, but not in the table"),
        ('{"a":1}', '{"a":2}', Kind.CONTENT, "a is 2 in the cache and 1 in the table"),
        ('{"a":1}', "{}", Kind.CONTENT, "a is absent in the cache and 1 in the table"),
        ("{}", '{"s":"x"}', Kind.CONTENT, 's is "x" in the cache and absent in the table'),
        (
            '{"a":0.10000000000000000001}',
            '{"a":0.1}',
            Kind.CONTENT,
            "a is 0.1 in the cache and 0.10000000000000000001 in the table",
        ),
        ('{"a":1}', "[1]", Kind.UNREADABLE, "the cache holds something that is not a row"),
        ('{"a":1}', "[" * 100_000, Kind.UNREADABLE, "the cache holds something that is not a row"),
    ],
)
def test_a_difference_is_told_in_words(
    stored: str | None, held: str | None, kind: Kind, words: str
) -> None:
    found = differs(pair(stored, held))
    assert found
    assert (found.kind, found.words) == (kind, words)


def test_a_key_is_wrong_if_one_side_stood_still() -> None:
    before = {"k": pair("{}", None, "2", "1")}
    assert wrong(before, {"k": pair("{}", None, "3", "2")}) == []
    assert wrong(before, {"k": pair("{}", None, "2", "1")}) == ["k"]
    assert wrong(before, {"k": pair("{}", None, "3", "1")}) == ["k"], "nothing reaches the cache"
    assert wrong(before, {"k": pair("{}", None, "2", "9")}) == ["k"], "and it had time"


@pytest.mark.parametrize(
    ("share", "count"), [(1.0, None), (0.999, 3), (0.9989, 2), (0.9, 1), (0.5, 0), (0.0, 0)]
)
def test_nines(share: float, count: int | None) -> None:
    assert nines(share) == count


def test_what_a_sample_tells() -> None:
    assert bounds(0, 100_000, 1_000_000) == (0, 30)
    least, most = bounds(100, 100_000, 1_000_000)
    assert 800 < least < 1000 < most < 1300
    assert bounds(1, 100_000, 1_000_000)[0] >= 1


def test_the_report_reads_well() -> None:
    found = differs(pair('{"likes":5}', '{"likes":3}'))
    assert found
    looks = [Look(0, 3), Look(1.0, 1), Look(6.0, 1)]
    report = Report("public.profile", 1000, 1000, None, looks, [found])
    assert report.text().splitlines() == [
        "public.profile: 1,000 keys compared, every one.",
        "  at once    99.7 % agree (2 nines), 3 keys differ",
        "  after 1 s  99.9 % agree (3 nines), 1 key differs",
        "  after 6 s  99.9 % agree (3 nines), 1 key differs",
        "2 keys were late: the change was on its way.",
        "1 key is wrong:",
        "  'k': likes is 3 in the cache and 5 in the table",
    ]
    sample = Report("t", 10**6, 10**5, 10**5, [Look(0, 0)], [])
    assert sample.text().splitlines() == [
        "t: 100,000 of 1,000,000 rows compared, drawn at random.",
        "  at once    all agree",
        "So, with 95 % confidence, fewer than 30 of all rows are wrong in the cache.",
    ]
    empty = Report("t", 0, 0, None, [Look(0, 0)], [])
    assert empty.text().splitlines()[1:] == ["  at once    all agree", "Nothing is wrong."]
