"""Every notebook keeps the rules, and every rule catches a notebook that breaks it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import notebook_style as style
from tools.course import FOLDER, NOTEBOOKS, each_notebook
from tools.execute_notebooks import KERNEL, LANGUAGE, VIEW
from tools.notebook_style import Notebook, complaints

PICTURES = sorted((FOLDER / "images").glob("*.svg"))

ALT = "A picture that is described in so many words that nobody needs to see it"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><title>A way</title><desc>It goes on.</desc></svg>'

OPENING = f"""# A title

One sentence that promises something.

**You will**

- *hear* one thing;
- *see* another, which takes
  a second line;
- *keep* a third.

**Needs**

| concept | | notes |
|---|---|---|
| Python | necessary | |

**Time**: 10 minutes.

![{ALT}](images/way.svg)"""

CLOSING = """## In this notebook you

- heard, saw and kept.

**Can you say**

1. Why?
2. When?
3. Whence?

Next: [the same again](good.ipynb)."""


@pytest.mark.parametrize("path", each_notebook())
def test_a_notebook_keeps_the_rules(path: Path) -> None:
    found = complaints(Notebook(nbformat.read(path, as_version=4), path))
    assert not found, "\n".join([path.name, *found])


@pytest.mark.parametrize("path", each_notebook())
def test_a_notebook_is_formatted(path: Path) -> None:
    command = [sys.executable, "-m", "ruff", "format", "--diff", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\nruff format {path.name}"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_says_what_it_shows(picture: Path) -> None:
    assert not list(style.undescribed(picture))


def test_no_two_notebooks_begin_with_the_same_number() -> None:
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert sorted(set(numbers)) == numbers


def test_a_number_moves_before_much_is_read() -> None:
    """A minute after `make lab`, at 200 words a minute, and with the time in which all starts."""
    cells = nbformat.read(NOTEBOOKS[0], as_version=4).cells
    first = next(number for number, cell in enumerate(cells) if cell.cell_type == "code")
    assert "ProfileCard" in cells[first].source
    assert sum(map(style.words, cells[:first])) <= 130


@pytest.fixture
def good(tmp_path: Path) -> Notebook:
    """The smallest notebook that keeps every rule."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "way.svg").write_text(SVG)
    (tmp_path / "good.ipynb").touch()
    steps = [
        cell
        for number in range(1, 11)
        for cell in (
            new_markdown_cell(
                f"## {number}. A step\n\n" + "Words of prose. " * 12, id=f"title-{number}"
            ),
            new_code_cell(f"step({number})", id=f"step-{number}"),
        )
    ]
    exercises = [
        cell
        for name in ("one", "two", "three")
        for cell in (
            new_code_cell("# your code here", id=f"try-{name}", metadata={"tags": ["exercise"]}),
            new_code_cell("check()", id=f"check-{name}", metadata={"tags": sorted(style.ANSWERED)}),
            new_code_cell(
                "# a solution\nsolve()\ncheck()",
                id=f"solve-{name}",
                metadata={"tags": ["solution"], "jupyter": {"source_hidden": True}},
            ),
        )
    ]
    node = new_notebook(
        cells=[
            new_markdown_cell(OPENING, id="opening"),
            *steps,
            *exercises,
            new_markdown_cell(CLOSING, id="closing"),
        ],
        metadata={"kernelspec": KERNEL, "language_info": LANGUAGE},
    )
    notebook = Notebook(node, tmp_path / "good.ipynb")
    number_runs(notebook)
    return notebook


def number_runs(notebook: Notebook) -> None:
    """Number the code cells as a run from top to bottom does, without the checks of exercises."""
    runs = [cell for cell in notebook.code if style.SKIPPED not in cell.metadata.get("tags", [])]
    for number, cell in enumerate(runs, 1):
        cell.execution_count = number


def find(notebook: Notebook, ident: str) -> NotebookNode:
    """Return the cell with that id."""
    return next(cell for cell in notebook.node.cells if cell.id == ident)


Break = Callable[[Notebook], None]


def reword(ident: str, old: str, new: str) -> Break:
    """Break the text of a cell."""

    def broken(notebook: Notebook) -> None:
        cell = find(notebook, ident)
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return broken


def show(text: str, kind: str = "text/plain", **metadata: object) -> Break:
    """Let the first step show something."""

    def broken(notebook: Notebook) -> None:
        cell = find(notebook, "step-1")
        cell.metadata.update(metadata)
        cell.outputs = [new_output("execute_result", {kind: text}, execution_count=1)]

    return broken


def mark(ident: str, **metadata: object) -> Break:
    """Change the metadata of a cell."""
    return lambda notebook: find(notebook, ident).metadata.update(metadata)


def drop(*idents: str) -> Break:
    """Take cells out."""

    def broken(notebook: Notebook) -> None:
        notebook.node.cells = [cell for cell in notebook.node.cells if cell.id not in idents]
        number_runs(notebook)

    return broken


def repeat(times: int, source: str = "more()") -> Break:
    """Put code cells before the closing."""

    def broken(notebook: Notebook) -> None:
        words = ["ab" + "c" * number for number in range(times)]
        notebook.node.cells[-1:-1] = [new_code_cell(source, id=word) for word in words]
        number_runs(notebook)

    return broken


def output(kind: str, **content: object) -> Break:
    """Let the first step output something other than a value."""

    def broken(notebook: Notebook) -> None:
        find(notebook, "step-1").outputs = [new_output(kind, **content)]

    return broken


def unpicture(text: str | None) -> Break:
    """Replace the picture's file."""

    def broken(notebook: Notebook) -> None:
        file = notebook.path.parent / "images" / "way.svg"
        file.unlink() if text is None else file.write_text(text)

    return broken


def rename(ident: str, new: str) -> Break:
    """Give a cell another id."""

    def broken(notebook: Notebook) -> None:
        find(notebook, ident).id = new

    return broken


def describe(**metadata: object) -> Break:
    """Change the metadata of the notebook."""
    return lambda notebook: notebook.node.metadata.update(metadata)


def run_as(ident: str, count: int | None) -> Break:
    """Change a cell's number."""

    def broken(notebook: Notebook) -> None:
        find(notebook, ident).execution_count = count

    return broken


HEX = "3f2a9c81d0e74b5f"

BROKEN: list[tuple[Callable[..., object], str, Break]] = [
    (style.opens_in_place, "an H1 on top", reword("opening", "# A title", "A title\n\n# A title")),
    (style.opens_in_place, "a sentence", reword("opening", "One sentence that promises", "|")),
    (style.opens_in_place, "You will", reword("opening", "- *keep* a third.", "")),
    (style.opens_in_place, "Needs", reword("opening", "|---|---|---|\n", "")),
    (style.opens_in_place, "Time", reword("opening", "10 minutes", "short")),
    (style.opens_in_place, "a picture", reword("opening", "![", "[")),
    (style.closes_in_place, "In this notebook", reword("closing", "In this", "In that")),
    (style.closes_in_place, "ask three", reword("closing", "3. Whence?", "")),
    (style.closes_in_place, "ask three", reword("closing", "3. Whence?", "3. Say whence.")),
    (style.closes_in_place, "Next", reword("closing", "[the same again](good.ipynb)", "no more")),
    (style.states_its_time, "takes about", reword("opening", "10 minutes", "30 minutes")),
    (style.states_its_time, "takes about", reword("opening", "10 minutes", "5 minutes")),
    (style.has_one_title, "2 H1", reword("title-2", "## 2.", "# 2.")),
    (style.has_a_readable_number_of_cells, "9 code cells", drop("step-1")),
    (style.has_a_readable_number_of_cells, "31 code cells", repeat(21)),
    (style.keeps_cells_short, "split it", repeat(1, "\n".join(["x()"] * 13))),
    (style.keeps_cells_short, "median", repeat(20, "a()\nb()\nc()")),
    (style.explains_its_code, "8 a line", repeat(12, "\n".join(["x()"] * 6))),
    (style.checks_its_steps, "2 cells", drop("try-one", "solve-one", "check-one")),
    (style.solves_its_exercises, "empty cell", reword("try-one", "# your code here", "x = 1")),
    (style.solves_its_exercises, "no solution", mark("solve-one", tags=[])),
    (style.solves_its_exercises, "begin with", reword("solve-one", "# a solution\n", "")),
    (style.solves_its_exercises, "collapse", mark("solve-one", jupyter={})),
    (style.solves_its_exercises, "no check", mark("check-one", tags=["check"])),
    (style.solves_its_exercises, "end with", reword("solve-one", "check()", "check")),
    (style.describes_its_pictures, "alt text", reword("opening", ALT, "a way")),
    (style.describes_its_pictures, "there is no", unpicture(None)),
    (style.describes_its_pictures, "<title>", unpicture(SVG.replace("title", "text"))),
    (style.describes_its_pictures, "<desc>", unpicture(SVG.replace("It goes on.", " "))),
    (style.describes_its_pictures, "<img>", reword("title-1", "Words", '<img src="x"> Words')),
    (style.links_to_what_exists, "gone.md", reword("title-1", "Words", "[Words](gone.md#here)")),
    (style.waits_by_name, "sleeps", reword("step-1", "step(1)", "time.sleep(1)")),
    (style.installs_nothing, "installs", reword("step-1", "step(1)", "%pip install x")),
    (style.installs_nothing, "installs", reword("step-1", "step(1)", "!pip install x")),
    (style.was_run_in_order, "run as None", run_as("step-3", None)),
    (style.was_run_in_order, "run as 7", run_as("step-3", 7)),
    (style.ran_without_a_fault, "raised", output("error", ename="E", evalue="e", traceback=[])),
    (style.ran_without_a_fault, "stderr", output("stream", name="stderr", text="no")),
    (style.names_no_machine, "/tmp/rd-1", show("at /tmp/rd-1/x.sock")),
    (style.names_no_machine, "/home/", show("'/home/ada/x'", tags=[style.VARIES])),
    (style.names_no_machine, "C:", show(r"C:\Users\ada", "text/html")),
    (style.names_no_machine, "/root/", output("stream", name="stdout", text="in /root/x")),
    (style.shows_the_same_each_time, "a time", show("at 12:34:56")),
    (style.shows_the_same_each_time, "a time", show("on 2031-01-31")),
    (style.shows_the_same_each_time, "a duration", show("took 1.5 ms")),
    (style.shows_the_same_each_time, "a duration", show("took 0.25 s")),
    (style.shows_the_same_each_time, "a port", show("at 127.0.0.1:5432")),
    (style.shows_the_same_each_time, "a port", show("port=6379")),
    (style.shows_the_same_each_time, "an id", show("<X at 0x7f12ab34cd56>")),
    (style.shows_the_same_each_time, "an id", show(HEX)),
    (style.shows_the_same_each_time, "a process id", show("Notify('c', '', PID=4711)")),
    (style.reads_without_a_kernel, "metadata.widgets", describe(widgets={})),
    (style.reads_without_a_kernel, "needs a kernel", show("", VIEW)),
    (style.reads_without_a_kernel, "children", show("VBox(children=(Label(),))")),
    (style.reads_without_a_kernel, "children", show("HBox(children=())", "text/html")),
    (style.runs_on_any_python, "kernelspec", describe(kernelspec={"name": "venv"})),
    (style.runs_on_any_python, "language_info", describe(language_info={"version": "3.11"})),
    (style.names_its_cells, "name the cell", rename("step-1", HEX[:8])),
    (style.names_its_cells, "names 2 cells", rename("step-1", "step-2")),
    (style.uses_known_tags, "nbval-ignore", mark("step-1", tags=["nbval-ignore-outputs"])),
]


def test_a_good_notebook_has_no_complaint(good: Notebook) -> None:
    assert complaints(good) == []


@pytest.mark.parametrize(("rule", "words", "spoil"), BROKEN)
def test_a_rule_complains_of_what_breaks_it(
    rule: style.Rule, words: str, spoil: Break, good: Notebook
) -> None:
    spoil(good)
    found = [complaint for complaint in complaints(good) if complaint.startswith(rule.__name__)]
    assert any(words in complaint for complaint in found), complaints(good)


def test_every_rule_is_seen_complaining() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(style.RULES)


@pytest.mark.parametrize(
    "allowed",
    [
        show("took 1.5 ms at 12:34:56", tags=[style.VARIES]),
        show("12:34 is no time, 5 s is a limit, 8000 bytes, version 18, 1,004 likes"),
        show("either/run/or, and deadbeef is a word"),
        output("stream", name="stdout", text="an even word: 100000000000"),
        reword("title-1", "Words", "[Words](https://example.org/) and [here](#below)"),
        reword("title-1", "A step", "A step\n\n```sh\n# no title\n```"),
        repeat(5, "import this\n\nfrom that import other"),
        reword("step-1", "step(1)", "step??"),
    ],
)
def test_a_rule_lets_pass_what_is_right(allowed: Break, good: Notebook) -> None:
    allowed(good)
    assert complaints(good) == []
