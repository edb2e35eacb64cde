"""The fault lab's board: a button for each fault, and the two pipelines side by side."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from importlib.resources import files

import ipywidgets

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.screen.label import LiveLabel
from reactive_demo.screen.painter import paint
from reactive_demo.tutorial.faults.actions import FAULTS, Fault
from reactive_demo.tutorial.faults.lab import FaultLab
from reactive_demo.tutorial.faults.pipeline import NAMES, Pipeline
from reactive_demo.tutorial.faults.runs import Outcome, break_it, in_words
from reactive_demo.tutorial.faults.score import Score
from reactive_demo.tutorial.faults.still import about, board_picture
from reactive_demo.tutorial.widgets.background import Background
from reactive_demo.tutorial.widgets.fallback import StillPicture
from reactive_demo.tutorial.widgets.flow import FlowView

__all__ = ["FaultBoard"]

ALL = "Run them all"
REPAIR = "Repair"
LIKE = "Like all"

Said = tuple[str, str]
"""What was done, and what to watch."""


class FaultBoard(StillPicture, ipywidgets.VBox):
    """Buttons that break the two pipelines of `lab` for real, and a view of what that does.

    One thing happens at a time, and the buttons are disabled meanwhile. With `flows`, each side
    shows the path of its changes as a moving picture. `close()` ends the board, not the lab.
    """

    def __init__(self, lab: FaultLab, *, flows: bool = True) -> None:
        self.lab = lab
        self.outcomes: list[Outcome] = []
        """What each fault did since the board was made."""
        self.full_run: list[Outcome] = []
        """The outcomes of the last run of all faults in one go."""
        actions: dict[str, Callable[[], Said]] = {LIKE: self._like}
        actions |= {fault.name: partial(self._break, fault) for fault in FAULTS}
        actions |= {ALL: self._break_all, REPAIR: self._repair}
        self.buttons = {name: self._button(name, action) for name, action in actions.items()}
        self._background = Background("click", self._ended)
        self._turns = 0
        """Clicks that are done."""
        self._said: Said = ("", "")
        self.said = ipywidgets.HTML()
        self._say("Nothing is broken yet.", "Both sides show 0 lost.")
        self.sides = {one.name: Side(one, flow=flows) for one in lab.pipelines}
        self.results = {fault.name: ipywidgets.HTML() for fault in FAULTS}
        style = (files("reactive_demo.tutorial.faults") / "board.css").read_text(encoding="utf-8")
        super().__init__(
            [
                ipywidgets.HTML(f"<style>{style}</style>"),
                self.said,
                ipywidgets.HBox(
                    [self._controls(), *self.sides.values()], _dom_classes=["rd-lab-sides"]
                ),
            ],
            _dom_classes=["rd-lab"],
        )
        self._end_observing = lab.observe(self._show)
        self._show()

    def click(self, name: str) -> None:
        """Click the button of that name."""
        self.buttons[name].click()

    def wait(self, timeout: float = 60) -> None:
        """Wait until the newest click is done; raise what went wrong."""
        self._background.wait(timeout)

    @property
    def last(self) -> Outcome:
        """The outcome of the last fault."""
        if not self.outcomes:
            raise ReactiveDemoError("Nothing is broken yet: click a button.")
        return self.outcomes[-1]

    def close(self) -> None:
        """Stop following the lab, and take the board off the screen."""
        self._end_observing()
        for side in self.sides.values():
            side.close()
        super().close()

    def __repr__(self) -> str:
        return f"FaultBoard({len(FAULTS)} faults)"

    def to_svg(self) -> str:
        """Return the board as it is now as a picture, for readers without a kernel."""
        return board_picture([one.pipeline for one in self.sides.values()], self.outcomes)

    def _controls(self) -> ipywidgets.VBox:
        """Return the buttons, and beside each fault's what it did to the two sides."""
        head = ipywidgets.HTML(_result("the article's way", "the durable way"))
        rows = [ipywidgets.HBox([self.buttons[LIKE], head], _dom_classes=["rd-lab-row"])]
        rows += [
            ipywidgets.HBox([self.buttons[name], result], _dom_classes=["rd-lab-row"])
            for name, result in self.results.items()
        ]
        rest = [self.buttons[ALL], self.buttons[REPAIR]]
        rows.append(ipywidgets.HBox(rest, _dom_classes=["rd-lab-row"]))
        return ipywidgets.VBox(rows, _dom_classes=["rd-lab-controls"])

    # What the buttons do, in a background thread

    def _button(self, name: str, action: Callable[[], Said]) -> ipywidgets.Button:
        style = {LIKE: "primary", ALL: "warning", REPAIR: "success"}.get(name, "")
        button = ipywidgets.Button(description=name, button_style=style, tooltip=_tip(name))
        button.on_click(lambda _: self._background.start(partial(self._run, action)))
        return button

    def _run(self, action: Callable[[], Said]) -> None:
        self._disable(disabled=True)
        self._said = action()

    def _ended(self, error: BaseException | None) -> None:
        self._disable(disabled=False)
        self._turns += 1
        self._say(*((str(error), "") if error else self._said), failed=error is not None)

    def _say(self, did: str, watch: str, *, failed: bool = False) -> None:
        look = f"<p><b>Watch</b>: {escape(watch)}</p>" if watch else ""
        words = (
            f'<div class="rd-lab-said{" rd-lab-failed" if failed else ""}" role="status" '
            f'aria-live="polite" data-done="{self._turns}"><p>{escape(did)}</p>{look}</div>'
        )
        paint(self.said, value=words)

    def _disable(self, *, disabled: bool) -> None:
        for button in self.buttons.values():
            paint(button, disabled=disabled)

    def _like(self) -> Said:
        self.lab.write()
        return "Every profile got a like, on both sides.", "All numbers move."

    def _break(self, fault: Fault) -> Said:
        self._say(f"{fault.name} …", fault.watch)
        outcome = break_it(self.lab, fault)
        self.outcomes.append(outcome)
        sides = in_words(outcome.article), in_words(outcome.durable)
        paint(self.results[fault.name], value=_result(*sides))
        return self.last.did, fault.watch

    def _break_all(self) -> Said:
        for fault in FAULTS:
            self._break(fault)
        self.full_run = self.outcomes[-len(FAULTS) :]
        article = sum(outcome.article.lost for outcome in self.full_run)
        durable = sum(outcome.durable.lost for outcome in self.full_run)
        lost = f"the article's way lost {article} changes, the durable way {durable}"
        return f"{len(FAULTS)} faults: {lost}.", "Beside each button is what its fault did."

    def _repair(self) -> Said:
        article, durable = (pipeline.repair() for pipeline in self.lab.pipelines)
        did = (
            f"The meter compared every key and repaired what was wrong: {article} profiles on "
            f"the article's side, {durable} on the durable one."
        )
        return did, "Changes that were lost stay counted."

    def _show(self) -> None:
        for side in self.sides.values():
            side.show()


class Side(ipywidgets.VBox):
    """One pipeline: its listener, its score, its profiles as the cache has them, its changes."""

    def __init__(self, pipeline: Pipeline, *, flow: bool) -> None:
        self.pipeline = pipeline
        self._numbers = ipywidgets.HTML(_numbers(pipeline.score))
        self._state = ipywidgets.Label(_dom_classes=["rd-state"])
        self._labels = [
            LiveLabel(pipeline.cache, name, "likes_count", _dom_classes=["rd-number"])
            for name in NAMES
        ]
        self._tiles = [
            ipywidgets.VBox(
                [label, ipywidgets.Label(label.key, _dom_classes=["rd-caption"])],
                _dom_classes=["rd-tile"],
            )
            for label in self._labels
        ]
        name, note = about(pipeline)
        self._flows = [FlowView(pipeline.listener, compact=True)] if flow else []
        super().__init__(
            [
                ipywidgets.HTML(
                    f'<div class="rd-lab-name">{name}</div><div class="rd-lab-note">{note}</div>'
                ),
                self._state,
                self._numbers,
                ipywidgets.Box(self._tiles, _dom_classes=["rd-lab-tiles"]),
                *self._flows,
            ],
            _dom_classes=["rd-lab-card", f"rd-lab-{pipeline.name}"],
        )

    def show(self) -> None:
        """Show the current state."""
        paint(self._numbers, value=_numbers(self.pipeline.score))
        listener = self.pipeline.listener
        quarantined = listener.stats.quarantined
        more = f"; {quarantined} in quarantine" if quarantined else ""
        paint(self._state, value=f"Listener: {listener.status_text}{more}")
        behind = self.pipeline.staleness.behind
        for label, tile in zip(self._labels, self._tiles, strict=True):
            late = ("rd-tile", "rd-behind") if label.key in behind else ("rd-tile",)
            paint(tile, _dom_classes=late)  # the style sheet adds the word

    def close(self) -> None:
        """Stop following the cache."""
        for label in self._labels:
            label.close()
        for flow in self._flows:
            flow.close()
        super().close()


def _result(*sides: str) -> str:
    """Return the words for both sides; a number and its unit stay on one line."""
    words = (re.sub(r"(?<=\d) (?=s$)", "&nbsp;", escape(side)) for side in sides)
    spans = "".join(f"<span>{side}</span>" for side in words)
    return f'<div class="rd-lab-result">{spans}</div>'


def _in_words(score: Score) -> Sequence[str]:
    return str(score.lost), str(score.stale), f"{score.worst:.1f} s"


def _numbers(score: Score) -> str:
    lost, stale, worst = _in_words(score)
    return (
        '<div class="rd-lab-numbers">'
        f'<div class="{"rd-lab-bad" if score.lost else ""}">'
        f'<b class="rd-lost">{lost}</b><span>lost</span></div>'
        f'<div class="{"rd-lab-bad" if score.stale else ""}">'
        f'<b class="rd-stale">{stale}</b><span>stale now</span></div>'
        f'<div><b class="rd-worst">{worst}</b><span>worst staleness</span></div></div>'
    )


def _tip(name: str) -> str:
    tips = {
        LIKE: "One like for every profile, on both sides",
        ALL: "All faults, one after the other",
        REPAIR: "Compare both caches with their tables, and repair what is wrong",
    }
    return tips.get(name) or next(fault.watch for fault in FAULTS if fault.name == name)
