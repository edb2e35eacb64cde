"""How two rows differ, which rows are late and which are wrong, and a report of it. No I/O."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from reactive_demo.capture.slots import Slot
from reactive_demo.changes import Versioned

__all__ = ["Difference", "Kind", "Look", "Pair", "Report", "differs", "wrong"]

SHOWN = 10
"""Wrong keys that the report names."""

SHORT = 60
"""Characters of a value that the report shows."""


class Kind(StrEnum):
    """A way in which a key can differ."""

    MISSING = "missing"
    EXTRA = "extra"
    CONTENT = "content"
    UNREADABLE = "unreadable"


class Pair(NamedTuple):
    """One key, on both sides."""

    stored: Versioned
    """Its row in the table."""
    held: Versioned
    """Its row in the cache."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that differs, and how."""

    key: str
    kind: Kind
    words: str
    """The difference in words, for people."""
    reason: str = ""
    """Why the row is not in the cache, if a listener put it into quarantine."""

    def __str__(self) -> str:
        quarantine = f"; in quarantine: {self.reason}" if self.reason else ""
        return f"{_short(repr(self.key))}: {self.words}{quarantine}"


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one comparison."""

    after: float
    """Seconds since the first comparison."""
    differing: int
    """Keys that differed, of those that had differed in every comparison before."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an audit."""

    table: str
    """Schema-qualified."""
    rows: int
    """The number of rows in the table."""
    compared: int
    """Keys that were compared."""
    drawn: int | None
    """The size of the random sample; None if all rows were compared."""
    looks: Sequence[Look]
    wrong: Sequence[Difference]
    """Keys that differed in each comparison, and did not change in between."""
    repaired: int = 0
    """Keys that were wrong and have been repaired."""
    captured: bool = True
    """Whether the table is captured, and its changes have versions."""
    feed: str | None = None
    """The kind of feed that was asked for, if any."""
    slots: Sequence[Slot] = ()
    """The slots that keep the log of its changes."""

    @property
    def agrees(self) -> bool:
        """Whether no row is wrong; late ones do not count."""
        return not self.wrong

    @property
    def late(self) -> int:
        """The number of keys that differed at first and were not wrong."""
        return self.looks[0].differing - len(self.wrong) - self.repaired

    def share(self, look: int = -1) -> float:
        """Return the share of the compared keys that agreed in one comparison, 0 to 1."""
        return 1 - self.looks[look].differing / self.compared if self.compared else 1.0

    def text(self) -> str:
        """Return the report, for people."""
        if self.drawn is None:
            every = ", every one" if self.compared else ""
            lines = [f"{self.table}: {_keys(self.compared)} compared{every}."]
        else:
            lines = [
                f"{self.table}: {self.drawn:,} of {self.rows:,} rows compared, drawn at random."
            ]
        lines += [f"  {_when(look):<10} {self._agreement(n)}" for n, look in enumerate(self.looks)]
        if self.late:
            lines.append(f"{_keys(self.late)} {_was(self.late)} late: the change was on its way.")
        if self.repaired:
            lines.append(f"{_keys(self.repaired)} {_was(self.repaired)} wrong, and repaired.")
        if self.wrong:
            are = "is" if len(self.wrong) == 1 else "are"
            lines.append(f"{_keys(len(self.wrong))} {are} wrong:")
            lines += [f"  {difference}" for difference in self.wrong[:SHOWN]]
            if len(self.wrong) > SHOWN:
                lines.append(f"  and {len(self.wrong) - SHOWN:,} more")
        elif self.drawn is None:
            lines.append("Nothing is wrong.")
        if self.drawn:
            lines.append(self._estimate(self.drawn))
        lines += [f"The slot {slot}." for slot in self.slots]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def facts(self) -> dict[str, Any]:
        """Return the report for programs, as JSON can represent it."""
        facts = asdict(self) | {"agrees": self.agrees, "late": self.late}
        facts["looks"] = [
            asdict(look) | {"share": self.share(n), "nines": nines(self.share(n))}
            for n, look in enumerate(self.looks)
        ]
        return facts

    def _estimate(self, drawn: int) -> str:
        """Say what the sample tells about the table; repairs change nothing in the rest of it."""
        if self.repaired:
            return (
                "The other rows were not compared: `reactive-demo resync` refills the whole cache."
            )
        found = sum(1 for difference in self.wrong if difference.kind is not Kind.EXTRA)
        least, most = bounds(found, drawn, self.rows)
        between = f"between {least:,} and {most:,}" if least else f"fewer than {most:,}"
        return f"So, with 95 % confidence, {between} of all rows are wrong in the cache."

    def _agreement(self, look: int) -> str:
        share, differing = self.share(look), self.looks[look].differing
        if not differing:
            return "all agree"
        count = nines(share) or 0
        differ = "key differs" if differing == 1 else "keys differ"
        digits = max(
            count - 1, 1
        )  # as many as the nines need, and rounded down: 100 % would be wrong
        shown = f"{math.floor(share * 10 ** (digits + 2) + 1e-9) / 10**digits:g}"
        named = "1 nine" if count == 1 else f"{count} nines"
        return f"{shown} % agree ({named}), {differing:,} {differ}"


def differs(pair: Pair) -> Difference | None:
    """Return how the cached row differs from the table's, if it does.

    Numbers are compared as decimals, to the last digit: 1.10 equals 1.1. Excluded columns are in
    neither row.
    """
    stored, held = pair.stored.row, pair.held.row
    if held == stored:
        return None
    key = pair.stored.key
    if stored is None:
        return Difference(key, Kind.EXTRA, "is in the cache, but not in the table")
    if held is None:
        return Difference(key, Kind.MISSING, "is in the table, but not in the cache")
    truth = _row(stored)
    try:
        row = _row(held)
    except (ValueError, RecursionError):
        return Difference(key, Kind.UNREADABLE, "the cache holds something that is not a row")
    if (columns := [name for name in truth | row if _differ(truth, row, name)]) == []:
        return None
    return Difference(key, Kind.CONTENT, ", ".join(_told(name, truth, row) for name in columns))


def wrong(before: Mapping[str, Pair], now: Mapping[str, Pair]) -> list[str]:
    """Return the keys that are wrong, of those that differ `now` and did `before`.

    A key that is written all the time may differ in every comparison. It is late if table and
    cache have both changed in between, and wrong if either has not.
    """
    return [
        key
        for key, pair in now.items()
        if pair.stored == before[key].stored or pair.held == before[key].held
    ]


def nines(share: float) -> int | None:
    """Return how many nines `share` begins with, 3 for 99.9 %; None for 100 %."""
    return None if share >= 1 else math.floor(-math.log10(1 - share) + 1e-9)


def bounds(found: int, drawn: int, of: int) -> tuple[int, int]:
    """Return how many of `of` are wrong, at least and at most, if `found` of `drawn` are.

    The confidence is 95 %: by the rule of three if none was found, else by Wilson's interval.
    """
    if not found:
        return 0, math.ceil(3 / drawn * of)
    z, p = 1.96, found / drawn
    middle, width = (
        p + z * z / (2 * drawn),
        z * math.sqrt(p * (1 - p) / drawn + (z / drawn) ** 2 / 4),
    )
    low, high = ((middle + sign * width) / (1 + z * z / drawn) for sign in (-1, 1))
    return max(math.floor(low * of), found), math.ceil(high * of)


_ABSENT: Any = object()


def _row(text: str) -> dict[str, Any]:
    row = json.loads(text, parse_float=Decimal)
    if not isinstance(row, dict):
        raise ValueError("no row")  # noqa: TRY004  (what JSON says is a value)
    return row


def _differ(truth: dict[str, Any], row: dict[str, Any], name: str) -> bool:
    return bool(truth.get(name, _ABSENT) != row.get(name, _ABSENT))


def _told(name: str, truth: dict[str, Any], row: dict[str, Any]) -> str:
    return f"{name} is {_value(name, row)} in the cache and {_value(name, truth)} in the table"


def _value(name: str, row: dict[str, Any]) -> str:
    if name not in row:
        return "absent"
    if isinstance(row[name], Decimal):
        return str(row[name])
    return _short(json.dumps(row[name], default=str, ensure_ascii=False))


def _short(text: str) -> str:
    return text if len(text) <= SHORT else f"{text[: SHORT - 3]}..."


def _when(look: Look) -> str:
    return f"after {look.after:g} s" if look.after else "at once"


def _keys(count: int) -> str:
    return "1 key" if count == 1 else f"{count:,} keys"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
