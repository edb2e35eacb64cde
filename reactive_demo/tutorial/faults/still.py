"""The fault board as a still picture, for a page without a kernel."""

from collections.abc import Iterator, Sequence

from reactive_demo.screen.label import ABSENT
from reactive_demo.tutorial.faults.pipeline import NAMES, Pipeline
from reactive_demo.tutorial.faults.runs import Outcome, in_words
from reactive_demo.tutorial.widgets.still import box, picture, text
from reactive_demo.tutorial.widgets.style import COLOURS, EDGE, INK

__all__ = ["about", "board_picture"]

ABOUT = {
    "article": ("The article's way", "the row travels in the notification"),
    "durable": ("The durable way", "a table says which keys changed"),
    "log": ("The way of the log", "PostgreSQL's own log says what changed"),
}
"""What each side is called, and how it works."""

SIDE, HEIGHT = 440, 206
LINE = 20


def about(pipeline: Pipeline) -> tuple[str, str]:
    """Return the name of a pipeline, and what is special about it."""
    return ABOUT["log" if pipeline.reads_log else pipeline.name]


def board_picture(pipelines: Sequence[Pipeline], outcomes: Sequence[Outcome]) -> str:
    """Return both sides as they are now, and below them what each fault did."""
    newest = list({outcome.fault.name: outcome for outcome in outcomes}.values())
    parts = [part for n, one in enumerate(pipelines) for part in _side(one, n * (SIDE + 16) + 1)]
    for n, one in enumerate(newest):
        y = HEIGHT + 28 + n * LINE
        parts.append(text(12, y, one.fault.name, bold=True, anchor="start"))
        for x, score in ((220, one.article), (SIDE + 28, one.durable)):
            colour = COLOURS["red"] if score.lost else INK
            parts.append(text(x, y, in_words(score), fill=colour, anchor="start"))
    words = "; ".join(f"{about(one)[0]}: lost {one.score.lost}" for one in pipelines)
    height = HEIGHT + (24 + len(newest) * LINE if newest else 0)
    return picture(2 * SIDE + 18, height, words, *parts)


def _side(pipeline: Pipeline, x: float) -> Iterator[str]:
    name, note = about(pipeline)
    colour = COLOURS["green" if pipeline.durable else "amber"]
    yield box(x, 1, SIDE, HEIGHT - 2, radius=14)
    yield text(x + 14, 28, name, size=17, bold=True, fill=colour, anchor="start")
    yield text(x + 14, 46, note, size=11.5, anchor="start")
    score = pipeline.score
    numbers = ((score.lost, "lost"), (score.stale, "stale now"))
    for n, (number, caption) in enumerate((*numbers, (f"{score.worst:.1f} s", "worst staleness"))):
        bad = n < len(numbers) and number
        middle = x + SIDE * (2 * n + 1) / 6
        yield text(middle, 80, number, size=23, bold=True, fill=COLOURS["red"] if bad else INK)
        yield text(middle, 96, caption, size=11.5)
    for n, username in enumerate(NAMES):
        left, top = x + 12 + 84 * (n % 5), 108 + 46 * (n // 5)
        behind = username in pipeline.staleness.behind
        yield box(left, top, 78, 40, stroke=COLOURS["red"] if behind else EDGE, radius=8)
        likes = pipeline.cached.get(username)
        yield text(left + 39, top + 19, ABSENT if likes is None else likes, size=15, bold=True)
        yield text(left + 39, top + 33, username, size=10.5)
