"""Checks of chapter 08: what the log tells, who reads it, and what is left behind."""

from collections.abc import Collection

from psycopg import sql

from reactive_demo.capture.slots import Slot, shown_size, slots_of
from reactive_demo.tutorial.checks.pipeline import (
    ask,
    asking,
    cache_follows,
    card_shows,
    has_healed,
    is_published,
)
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until, until_right

__all__ = [
    "cache_follows",
    "card_shows",
    "each_once",
    "has_healed",
    "is_followed_in_the_log",
    "log_is_given_back",
    "nobody_reads",
    "nothing_is_left",
    "tells_what_is_committed",
    "until",
]


def tells_what_is_committed(database_url: str, told: Collection[str]) -> Verdict:
    """Check that the words told by the log are those that are in the table."""
    committed = _words(database_url)
    if not committed:
        raise CheckFailed("The table chapter_08 is empty: run the cell that inserts two words.")
    if missed := sorted(committed - set(told)):
        raise CheckFailed(f"{missed[0]!r} is in the table, and the log has not told it: peek.")
    if lies := sorted(set(told) - committed):
        raise CheckFailed(
            f"{lies[0]!r} was told, and is not in the table: run the cells of this section again, "
            "from its title."
        )
    return Verdict("the log tells what was committed, and nothing else")


def each_once(database_url: str, copied: Collection[str], told: Collection[str]) -> Verdict:
    """Check that every word of the table is in the copy or told by the log, and not in both."""
    seen = [*copied, *told]
    if missed := sorted(_words(database_url) - set(seen)):
        raise CheckFailed(
            f"{missed[0]!r} is neither in the copy nor told by the log: make the slot first, and "
            "copy the table as its snapshot has it."
        )
    if twice := sorted({word for word in seen if seen.count(word) > 1}):
        raise CheckFailed(
            f"{twice[0]!r} is in the copy, and the log tells it too: copy the table as the slot's "
            "snapshot has it."
        )
    return Verdict(f"each of the {len(seen)} words arrives, and none of them twice")


def is_followed_in_the_log(database_url: str, timeout: float = 5) -> Verdict:
    """Check that `profile` is published, has no trigger of ours, and that its slot is read."""
    triggers = sql.SQL(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass('public.profile')"
        " AND tgname IN ('reactive_capture', 'notify_profile')"
    )

    def amiss() -> str:
        if not is_published(database_url):
            return "The table profile is not published: run the cell that installs it for the log."
        if found := ask(database_url, triggers):
            return f"The trigger {found[0][0]} is there: run the cell with `install` again."
        if not any(slot.active for slot in _slots(database_url)):
            return "Nobody reads a slot of profile: run the cell that starts a LogFeed."
        return ""

    until_right(amiss, timeout)
    return Verdict("profile has no trigger any more, and a listener reads its slot")


def nobody_reads(database_url: str, at_least: int) -> Verdict:
    """Check that a slot of `profile` that nobody reads retains so many bytes."""
    slots = _slots(database_url)
    if not slots:
        raise CheckFailed("profile has no slot: start its listener once, then stop it.")
    if reading := [slot for slot in slots if slot.active]:
        raise CheckFailed(f"{reading[0]}: stop it first.")
    if (retained := max(slot.retained for slot in slots)) < at_least:
        raise CheckFailed(
            f"The slot retains {shown_size(retained)}, and this step makes it "
            f"{shown_size(at_least)}: run the cell that writes."
        )
    return Verdict(f"the slot retains more than {shown_size(at_least)} that nobody reads")


def log_is_given_back(database_url: str, below: int, timeout: float = 20) -> Verdict:
    """Check that the slots of `profile` are read, and retain less than `below` bytes."""

    def amiss() -> str:
        slots = [slot for slot in _slots(database_url) if slot.active]
        if not slots:
            return "No listener reads the slot of profile: start it again."
        if (retained := max(slot.retained for slot in slots)) >= below:
            return (
                f"The slot still retains {shown_size(retained)}: run the cell with CHECKPOINT "
                "again, and give the listener a moment."
            )
        return ""

    until_right(amiss, timeout)
    return Verdict(f"the slot is read, and retains less than {shown_size(below)}")


def nothing_is_left(database_url: str, timeout: float = 5) -> Verdict:
    """Check that `profile` has neither a slot nor a publication any more."""

    def left() -> str:
        if slots := _slots(database_url):
            return f"{slots[0]}: run the cell that uninstalls."
        if is_published(database_url):
            return "The table profile is still published: run the cell that uninstalls."
        return ""

    until_right(left, timeout)
    return Verdict("no slot is left that would keep the log")


def _words(database_url: str) -> set[str]:
    return {word for (word,) in ask(database_url, sql.SQL("SELECT word FROM public.chapter_08"))}


def _slots(database_url: str) -> list[Slot]:
    with asking(database_url) as connection:
        return slots_of(connection, "public.profile")
