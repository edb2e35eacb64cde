"""What a write is to wait for, where the cache is filled from PostgreSQL's log."""

import pytest

from reactive_demo.log_versions import has_reached, version_at, version_to_await

WRITTEN = 2**24
"""Where the log ended after the write; its commit begins there or later."""
COMMITTED = WRITTEN + 300
AWAITED = version_to_await(WRITTEN, COMMITTED)


@pytest.mark.parametrize(
    ("held", "cursor", "reached"),
    [
        ("-1", "", False),
        (version_at(WRITTEN - 40, 7), "", False),  # an earlier change
        (version_at(WRITTEN, 1), "", True),  # this one
        (version_at(WRITTEN + 200, 1), "", True),
        (version_at(WRITTEN + 200, 0), "", False),  # a snapshot that may be without it
        (version_at(COMMITTED, 0), "", True),  # one that has it
        ("-1", f"lsn:{COMMITTED - 1}", False),
        ("-1", f"lsn:{COMMITTED}", True),
        ("12", "750:750:", False),  # of a change table
    ],
)
def test_a_write_is_there_by_its_change_a_snapshot_or_the_cursor(
    held: str, cursor: str, reached: bool
) -> None:
    assert has_reached(AWAITED, int(held), cursor) is reached


def test_what_is_awaited_precedes_the_change() -> None:
    """A browser sees versions only, and compares them."""
    assert int(version_at(WRITTEN - 40, 10**10 - 1)) < AWAITED < int(version_at(WRITTEN, 1))
    assert version_to_await(WRITTEN + 1, WRITTEN + 10**11) > AWAITED


@pytest.mark.parametrize(
    ("held", "cursor", "reached"),
    [
        (11, "750:750:", False),
        (12, "750:750:", True),
        (10**10, "750:750:", True),
        (int(version_at(WRITTEN, 1)), f"lsn:{COMMITTED}", False),
    ],
)
def test_versions_of_a_change_table_are_compared_with_their_like(
    held: int, cursor: str, reached: bool
) -> None:
    assert has_reached(12, held, cursor) is reached
