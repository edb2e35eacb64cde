"""The rules that every notebook keeps, each a small function that yields complaints.

A complaint names the cell and the fix. `complaints` applies all rules.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from defusedxml import ElementTree
from nbformat import NotebookNode

from tools.execute_notebooks import KERNEL, LANGUAGE, SKIPPED, VARIES, VIEW

CODE_CELLS = range(10, 31)  # of the story: checks, exercises and solutions come on top
SHORT = "00"  # the welcome may have fewer
MEDIAN_LINES = 2
LONGEST_CELL = 12
PROSE_PER_LINE = 8
ALT_TEXT = 30
CHECKS = 3
TOLERANCE = 5
"""Minutes by which a walk may differ from the estimate of `states_its_time`."""

RAISES = {"raises-exception", "nbval-raises-exception"}
BESIDE = {"check", "exercise", "solution"}
TAGS = {VARIES, SKIPPED, "hide-input", *RAISES, *BESIDE}
SOLUTION = "# a solution\n"
ANSWERED = {"check", "raises-exception", SKIPPED}
"""The tags of an exercise's check: it fails until there is an answer, and *Run All* goes on."""

PATHS = re.compile(
    r"(?:(?<![\w.])/(?:tmp|home|root|work|Users|usr|var|run|opt|private)/|\b[A-Z]:\\|site-packages)\S*"
)
VARYING = {
    "a time": re.compile(r"\b\d{1,2}:\d\d:\d\d\b|\b20\d\d-\d\d-\d\d\b"),
    "a duration": re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|µs|us|ns)\b|\b\d+\.\d+ ?s\b"),
    "a port": re.compile(r"\b(?:localhost|\d+\.\d+\.\d+\.\d+):\d{2,5}\b|\bport\W{0,3}\d{2,5}\b"),
    "an id": re.compile(
        r"\b0x[0-9a-f]{6,}\b|\b(?=\w*\d)(?=\w*[a-f])[0-9a-f]{12,}\b|\b[0-9a-f]{8}-[0-9a-f]{4}-"
    ),
    "a process id": re.compile(r"\bpid\W{0,3}\d+", re.IGNORECASE),
}

IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)[^)]*\)")
BADGE = re.compile(r"^\[!\[.*\n", re.MULTILINE)
"""A line with a badge of GitHub's, which is there and nowhere else."""

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^\s*[%!]+\s*(?:pip|conda)\b", re.MULTILINE)
HUMAN = re.compile(r"[a-z]{2,}(?:-(?:[a-z]+|\d+))*")


@dataclass(frozen=True)
class Notebook:
    """A notebook and its path."""

    node: NotebookNode
    path: Path

    @property
    def code(self) -> list[NotebookNode]:
        """The code cells."""
        return [cell for cell in self.node.cells if cell.cell_type == "code"]

    @property
    def prose(self) -> list[NotebookNode]:
        """The markdown cells."""
        return [cell for cell in self.node.cells if cell.cell_type == "markdown"]


Rule = Callable[[Notebook], Iterator[str]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    """Add a function to the rules."""
    RULES.append(function)
    return function


def complaints(notebook: Notebook) -> list[str]:
    """Apply all rules; return their complaints."""
    return [f"{one.__name__}: {words}" for one in RULES for words in one(notebook)]


# How it reads


@rule
def opens_in_place(notebook: Notebook) -> Iterator[str]:
    """A promise, what the reader will do and needs, the time, and a picture."""
    first = notebook.node.cells[0]
    text = first.source if first.cell_type == "markdown" else ""
    promise = re.match(r"# [^\n]+\n+(?![*#|!\[-])\w[^\n]*[.!?]\s*\n", text)
    will = re.search(r"\*\*You will\*\*\s+((?:[-*] .+\n(?:  .*\n)*)+)", text)
    wanted = {
        "an H1 on top": text.startswith("# "),
        "a sentence under the H1 that promises something": promise,
        "**You will** with three bullets": will
        and len(re.findall(r"^[-*] ", will[1], re.MULTILINE)) >= 3,
        "**Needs** with a table": re.search(r"\*\*Needs\*\*:?\s+\|.+\|\n\|[ :|-]+\|\n\|", text),
        "**Time**": re.search(r"\*\*Time\*\*:? .*\d+", text),
        "a picture": IMAGE.search(text),
    }
    yield from (f"{first.id} lacks {name}" for name, found in wanted.items() if not found)


@rule
def closes_in_place(notebook: Notebook) -> Iterator[str]:
    """What was done, three questions, and a link to the next page."""
    last = notebook.prose[-1]
    questions = re.findall(r"^(\d)\. .*\?", last.source, re.MULTILINE)
    if "In this notebook you" not in last.source:
        yield f"{last.id} lacks 'In this notebook you ...': say what was done"
    if questions != ["1", "2", "3"]:
        yield f"{last.id} has the questions {questions}: ask three, numbered 1 to 3"
    if not re.search(r"^Next:.*\]\(", last.source, re.MULTILINE):
        yield f"{last.id} lacks a line 'Next: ...' with a link"


@rule
def states_its_time(notebook: Notebook) -> Iterator[str]:
    """The time is that of a reader at work, exercises included, rounded up to five minutes."""
    story = sum(len(_lines(cell)) for cell in notebook.code if not _tags(cell) & BESIDE)
    exercises = sum("exercise" in _tags(cell) for cell in notebook.code)
    predictions = sum(cell.source.count("**Predict**") for cell in notebook.prose)
    minutes = sum(map(words, notebook.prose)) / 230 + story / 12 + predictions / 4 + 3 * exercises
    stated = re.search(r"\*\*Time\*\*:? .*?(\d+)", notebook.node.cells[0].source)
    if stated and not -TOLERANCE < int(stated[1]) - minutes < 5 + TOLERANCE:
        yield f"it takes about {minutes:.0f} minutes, and states {stated[1]}: work through it again"


def words(cell: NotebookNode) -> int:
    """Count the words of prose, without those of code and of pictures."""
    return len(re.findall(r"\w+", IMAGE.sub("", FENCE.sub("", cell.source))))


@rule
def has_one_title(notebook: Notebook) -> Iterator[str]:
    """The first cell has the only H1."""
    titles = [
        cell.id
        for cell in notebook.prose
        for _ in re.findall(r"^# ", FENCE.sub("", cell.source), re.MULTILINE)
    ]
    if len(titles) != 1:
        yield f"{len(titles)} H1 in {titles}: use one, and ## below it"


@rule
def has_a_readable_number_of_cells(notebook: Notebook) -> Iterator[str]:
    """Checks, exercises and solutions do not count: they stand beside the story."""
    story = [cell for cell in notebook.code if not _tags(cell) & BESIDE]
    welcome = notebook.path.name.startswith(SHORT) and len(story) < CODE_CELLS.start
    if len(story) not in CODE_CELLS and not welcome:
        yield (
            f"{len(story)} code cells beside checks and exercises: "
            f"{CODE_CELLS.start} to {CODE_CELLS.stop - 1} can be read"
        )


@rule
def keeps_cells_short(notebook: Notebook) -> Iterator[str]:
    """A reader can take in about two lines at a time."""
    lengths = {cell.id: len(_lines(cell)) for cell in notebook.code if not _only_imports(cell)}
    if lengths and median(lengths.values()) > MEDIAN_LINES:
        yield f"the median code cell has {median(lengths.values())} lines: split the long ones"
    for ident, length in lengths.items():
        if length > LONGEST_CELL:
            yield f"{ident} has {length} lines of code: split it, {LONGEST_CELL} at most"


@rule
def explains_its_code(notebook: Notebook) -> Iterator[str]:
    """There are enough words of prose for each line of code."""
    words = sum(len(re.findall(r"\w+", cell.source)) for cell in notebook.prose)
    lines = sum(len(_lines(cell)) for cell in notebook.code)
    if words < PROSE_PER_LINE * lines:
        yield f"{words} words for {lines} lines of code: {PROSE_PER_LINE} a line, or less code"


@rule
def checks_its_steps(notebook: Notebook) -> Iterator[str]:
    """Where there are steps, there are checks."""
    steps = [c for c in notebook.prose if re.search(r"^## \d", c.source, re.MULTILINE)]
    checks = [cell for cell in notebook.code if "check" in _tags(cell)]
    if steps and len(checks) < CHECKS:
        yield f"{len(checks)} cells are tagged check: check {CHECKS} steps at least"


@rule
def solves_its_exercises(notebook: Notebook) -> Iterator[str]:
    """An exercise is an empty cell, its check, and a collapsed solution that ends as the check."""
    for number, cell in enumerate(notebook.node.cells):
        if "exercise" in _tags(cell):
            check, solution = (*notebook.node.cells[number + 1 : number + 3], None, None)[:2]
            if cell.source.strip() != "# your code here":
                yield f"{cell.id}: an exercise is an empty cell, '# your code here'"
            if not check or _tags(check) != ANSWERED:
                yield f"{cell.id}: the next cell is no check with the tags {sorted(ANSWERED)}"
            if not solution or "solution" not in _tags(solution):
                yield f"{cell.id}: no solution below the check: tag it"
            elif check and _verdict(check) != _verdict(solution):
                yield f"{solution.id}: end with the statement that the check ends with"
        if "solution" in _tags(cell) and not cell.source.startswith(SOLUTION):
            yield f"{cell.id}: begin with {SOLUTION!r}, the line that is shown when it is collapsed"
        if "solution" in _tags(cell) and not cell.metadata.get("jupyter", {}).get("source_hidden"):
            yield f"{cell.id}: collapse the solution, metadata.jupyter.source_hidden = true"


# What it shows


@rule
def describes_its_pictures(notebook: Notebook) -> Iterator[str]:
    """Each image exists and says in words what it shows; an SVG says so inside, too."""
    for cell in notebook.prose:
        if "<img" in cell.source:
            yield f"{cell.id}: write ![what it shows](file) instead of <img>"
        for alt, target in IMAGE.findall(cell.source):
            picture = notebook.path.parent / target
            if len(alt) < ALT_TEXT:
                yield f"{cell.id}: give {target} an alt text of {ALT_TEXT} characters or more"
            if not picture.exists():
                yield f"{cell.id}: there is no {target}"
            elif picture.suffix == ".svg":
                yield from (f"{cell.id}: {lack}" for lack in undescribed(picture))


def undescribed(picture: Path) -> Iterator[str]:
    """Yield what an SVG lacks for readers who cannot see it."""
    root = ElementTree.parse(picture).getroot()
    for name in ("title", "desc"):
        element = root.find(f"{{http://www.w3.org/2000/svg}}{name}")
        if element is None or not (element.text or "").strip():
            yield f"{picture.name} lacks a <{name}>"


@rule
def links_to_what_exists(notebook: Notebook) -> Iterator[str]:
    """Relative links lead to files that exist."""
    for cell in notebook.prose:
        for target in dead_links(cell.source, notebook.path.parent):
            yield f"{cell.id}: the link to {target} is dead"


def dead_links(text: str, folder: Path) -> Iterator[str]:
    """Yield the relative links of a Markdown text that lead nowhere."""
    for target in LINK.findall(BADGE.sub("", FENCE.sub("", text))):
        file, _, _ = target.partition("#")
        if "://" not in target and file and not (folder / file).exists():
            yield target


@rule
def waits_by_name(notebook: Notebook) -> Iterator[str]:
    """No sleeps: they are too short or too long."""
    for cell in notebook.code:
        if re.search(r"\bsleep\b", cell.source):
            yield f"{cell.id} sleeps: wait for what should happen, as `checks.until` does"


@rule
def installs_nothing(notebook: Notebook) -> Iterator[str]:
    """What a notebook needs is in pyproject.toml."""
    for cell in notebook.code:
        if SHELL.search(cell.source):
            yield f"{cell.id} installs a package: name it in pyproject.toml"


# What is committed


@rule
def was_run_in_order(notebook: Notebook) -> Iterator[str]:
    """The outputs are those of one run from top to bottom."""
    runs = [cell for cell in notebook.code if SKIPPED not in _tags(cell)]
    wanted = {cell.id: number for number, cell in enumerate(runs, 1)}
    for cell in notebook.code:
        if (number := cell.get("execution_count")) != wanted.get(cell.id):
            yield f"{cell.id} was run as {number}, not {wanted.get(cell.id)}: make notebooks"


@rule
def ran_without_a_fault(notebook: Notebook) -> Iterator[str]:
    """No errors, unless the cell is meant to raise one; nothing on stderr."""
    for cell in notebook.code:
        for output in cell.outputs:
            if output.output_type == "error" and not _tags(cell) & RAISES:
                yield f"{cell.id} raised {output.ename}: fix it, or tag it raises-exception"
            if output.get("name") == "stderr":
                yield f"{cell.id} wrote to stderr: find out why"


@rule
def names_no_machine(notebook: Notebook) -> Iterator[str]:
    """No paths of the machine it ran on, even where nbval does not look."""
    for cell in notebook.code:
        for found in PATHS.findall(_shown(cell)):
            yield f"{cell.id} shows the path {found}: show its name only"


@rule
def shows_the_same_each_time(notebook: Notebook) -> Iterator[str]:
    """No times, ports or ids in what nbval compares."""
    for cell in notebook.code:
        for name, pattern in VARYING.items():
            if VARIES not in _tags(cell) and (found := pattern.search(_shown(cell))):
                yield f"{cell.id} shows {name}, {found[0]}: leave it out, or tag it {VARIES}"


@rule
def reads_without_a_kernel(notebook: Notebook) -> Iterator[str]:
    """Widgets have a still picture: on GitHub there is no kernel, and no widget state."""
    if "widgets" in notebook.node.metadata:
        yield "metadata.widgets is there, and GitHub refuses it: make notebooks"
    for cell in notebook.code:
        if any(VIEW in output.get("data", {}) for output in cell.outputs):
            yield f"{cell.id} keeps a view that needs a kernel: make notebooks"
        if re.search(r"\b[HV]Box\(children=", _shown(cell)):
            yield f"{cell.id} shows a Box(children=...): it needs a __repr__ and a picture"


@rule
def runs_on_any_python(notebook: Notebook) -> Iterator[str]:
    """The metadata name the plain kernel, and nothing about the machine."""
    for name, wanted in (("kernelspec", KERNEL), ("language_info", LANGUAGE)):
        if notebook.node.metadata.get(name) != wanted:
            yield f"metadata.{name} should be {wanted}: make notebooks"


@rule
def names_its_cells(notebook: Notebook) -> Iterator[str]:
    """Cell ids are words, so that a complaint is easy to find."""
    times = Counter(cell.id for cell in notebook.node.cells)
    for ident, count in times.items():
        if not HUMAN.fullmatch(ident):
            yield f"{ident}: name the cell in lower-case words with hyphens"
        if count > 1:
            yield f"{ident} names {count} cells: once each"


@rule
def uses_known_tags(notebook: Notebook) -> Iterator[str]:
    """A misspelt tag does nothing, and nobody notices."""
    for cell in notebook.node.cells:
        for tag in sorted(_tags(cell) - TAGS):
            yield f"{cell.id} is tagged {tag}: known are {', '.join(sorted(TAGS))}"


def _tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def _lines(cell: NotebookNode) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip()]


def _only_imports(cell: NotebookNode) -> bool:
    try:
        body = ast.parse(cell.source).body
    except SyntaxError:  # magic
        return False
    return all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def _verdict(cell: NotebookNode) -> str:
    return ast.unparse(ast.parse(cell.source).body[-1])


def _shown(cell: NotebookNode) -> str:
    """Return all text that a cell's outputs show."""
    texts = []
    for output in cell.outputs:
        texts += [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
        texts += [
            str(value)
            for kind, value in output.get("data", {}).items()
            if kind.startswith("text/") or kind == "application/json"
        ]
    return "\n".join(texts)
