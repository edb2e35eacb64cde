"""The doctor's report: one line for each finding, shown as text or as a table."""

import re
import shutil
import textwrap
from dataclasses import dataclass
from enum import StrEnum
from html import escape

__all__ = ["Line", "Report", "State"]


class State(StrEnum):
    """The state of something the doctor examined."""

    OK = "ok"
    WARNING = "warning"
    MEND = "mend"


@dataclass(frozen=True, slots=True)
class Line:
    """One finding."""

    subject: str
    """What was examined."""
    state: State
    """Its state."""
    words: str
    """What was found and, unless that is fine, how to mend it."""
    here: str = ""
    """A path or address on this machine, which a notebook omits because it may be shared."""


MARKS = {State.OK: "✓", State.WARNING: "!", State.MEND: "✗"}

COLOURS = {
    State.OK: "var(--jp-success-color1, #2e7d32)",
    State.WARNING: "var(--jp-warn-color1, #b26a00)",
    State.MEND: "var(--jp-error-color1, #c62828)",
}

CODE = re.compile(r"`([^`]+)`")

CELL = 'align="left" valign="top" style="text-align: left; vertical-align: top"'


@dataclass(frozen=True)
class Report:
    """All findings. A notebook shows its repr, a terminal its `text`."""

    lines: tuple[Line, ...]

    @property
    def healthy(self) -> bool:
        """Whether there is nothing to mend; warnings do not count."""
        return self._count(State.MEND) == 0

    @property
    def verdict(self) -> str:
        """The report in one sentence."""
        mend, warnings = self._count(State.MEND), self._count(State.WARNING)
        seen = f" and {warnings} to know about" if warnings else ""
        if mend:
            return f"{mend} {'thing' if mend == 1 else 'things'} to mend{seen}."
        return f"Nothing to mend{seen}." if warnings else "All is well."

    def text(self, width: int | None = None, *, here: bool = True) -> str:
        """Return the lines in columns and the verdict, as wide as the terminal or `width`."""
        width = max(60, width or shutil.get_terminal_size().columns)
        margin = max((len(line.subject) for line in self.lines), default=0)
        rows = []
        for line in self.lines:
            words = f"{line.words} ({line.here})" if here and line.here else line.words
            head = f"{line.state:<8} {line.subject:<{margin}}  "
            rows += textwrap.wrap(
                head + words,
                width,
                subsequent_indent=" " * len(head),
                break_long_words=False,  # a path or a command stays in one piece
                break_on_hyphens=False,
            )
        return "\n".join([*rows, "", self.verdict])

    def __repr__(self) -> str:
        return self.text(100, here=False)

    def _repr_html_(self) -> str:
        rows = "".join(map(_row, self.lines))
        head = "".join(f"<th {CELL}>{name}</th>" for name in ("what", "state", "found"))
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"<p><strong>{self.verdict}</strong></p>"
        )

    def _count(self, state: State) -> int:
        return sum(line.state is state for line in self.lines)


def _row(line: Line) -> str:
    mark = f"{MARKS[line.state]}&nbsp;{line.state}"
    shown = f'<strong style="color: {COLOURS[line.state]}">{mark}</strong>'
    subject = f'<span style="white-space: nowrap">{escape(line.subject)}</span>'
    words = CODE.sub(r"<code>\1</code>", escape(line.words, quote=False))
    found = f'<span style="overflow-wrap: anywhere">{words}</span>'  # names are long
    cells = (subject, shown, found)
    return "<tr>" + "".join(f"<td {CELL}>{cell}</td>" for cell in cells) + "</tr>"
