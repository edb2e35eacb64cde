"""The reader's copy of the course: nothing in it answers, and nothing of the reader's is lost."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reactive_demo.errors import ConfigurationError
from reactive_demo.tutorial.working_copy import FIRST, FOLDER, Refreshed, WorkingCopy
from tools.course import NOTEBOOKS, ROOT
from tools.notebook_style import IMAGE, dead_links

SECOND = "notebooks/01_listen_notify.ipynb"
Notebook = dict[str, list[dict[str, object]]]


def notebook(*sources: str, tags: tuple[str, ...] = ()) -> str:
    output = {"output_type": "stream", "name": "stdout", "text": ["the answer\n"]}
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {"tags": list(tags)},
            "source": [source],
            "outputs": [output],
            "execution_count": number,
        }
        for number, source in enumerate(sources, 1)
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A course of two chapters and a page."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / FIRST).write_text(notebook("hello()"))
    (tmp_path / SECOND).write_text(notebook("# your code here", "# a solution", tags=("solution",)))
    (tmp_path / "README.md").write_text("[first](notebooks/00_welcome.ipynb)")
    return tmp_path


@pytest.fixture
def course(checkout: Path) -> WorkingCopy:
    """The copy, made."""
    copy = WorkingCopy(checkout)
    assert copy.refresh() == Refreshed([FIRST, SECOND], [], [])
    return copy


@pytest.fixture
def change(course: WorkingCopy) -> Callable[..., None]:
    """Change a notebook of the copy, as JupyterLab does."""

    def change(name: str, work: Callable[[Notebook], object]) -> None:
        path = course.folder / name
        content = json.loads(path.read_text())
        work(content)
        path.write_text(json.dumps(content))

    return change


def answer(content: Notebook) -> None:
    content["cells"][0]["source"] = "answer = 42"


def run(content: Notebook) -> None:
    """Run it to the end: the lab adds a cell."""
    for cell in content["cells"]:
        cell |= {"outputs": [{"output_type": "stream", "text": "hello"}], "execution_count": 9}
    content["cells"].append({"cell_type": "code", "source": "", "metadata": {}, "outputs": []})
    content["metadata"] = {"language_info": {"version": "3"}}  # type: ignore[assignment]


def cells(course: WorkingCopy, name: str) -> list[dict[str, object]]:
    return list(json.loads((course.folder / name).read_text())["cells"])


def test_a_copy_has_no_outputs_and_its_solutions_are_collapsed(course: WorkingCopy) -> None:
    for name in (FIRST, SECOND):
        for cell in cells(course, name):
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert cells(course, SECOND)[1]["metadata"] == {
        "tags": ["solution"],
        "jupyter": {"source_hidden": True},
    }
    assert (course.folder / "README.md").exists()


def test_what_the_reader_has_written_is_kept(
    course: WorkingCopy, change: Callable[..., None]
) -> None:
    change(FIRST, answer)
    (course.folder / "notebooks" / "Untitled.ipynb").write_text(notebook("mine()"))
    assert course.refresh() == Refreshed([], [], [])
    assert cells(course, FIRST)[0]["source"] == "answer = 42"
    assert (course.folder / "notebooks" / "Untitled.ipynb").exists()


def test_a_newer_chapter_replaces_one_that_was_only_run(
    course: WorkingCopy, change: Callable[..., None], checkout: Path
) -> None:
    change(FIRST, run)
    assert course.refresh() == Refreshed([], [], [])
    assert cells(course, FIRST)[0]["execution_count"] == 9
    (checkout / FIRST).write_text(notebook("good_morning()"))
    assert course.refresh() == Refreshed([], [FIRST], [])
    assert cells(course, FIRST)[0]["source"] == ["good_morning()"]
    assert course.refresh() == Refreshed([], [], [])


def test_a_newer_chapter_does_not_replace_the_readers_work_unasked(
    course: WorkingCopy, change: Callable[..., None], checkout: Path
) -> None:
    change(FIRST, answer)
    (checkout / FIRST).write_text(notebook("good_morning()"))
    for _ in range(2):
        assert course.refresh() == Refreshed([], [], [FIRST])
    assert cells(course, FIRST)[0]["source"] == "answer = 42"

    aside = "notebooks/00_welcome-mine.ipynb"
    assert course.renew(["00"]) == [(FIRST, aside)]
    assert cells(course, FIRST)[0]["source"] == ["good_morning()"]
    assert cells(course, aside)[0]["source"] == "answer = 42"
    assert course.refresh() == Refreshed([], [], [])


def test_to_renew_puts_by_what_was_changed_under_a_name_that_is_free(
    course: WorkingCopy, change: Callable[..., None]
) -> None:
    for aside in ("00_welcome-mine", "00_welcome-mine2"):
        change(FIRST, answer)
        renewed = dict(course.renew())
        assert renewed == {FIRST: f"notebooks/{aside}.ipynb", SECOND: None, "README.md": None}
    change(SECOND, run)
    assert course.renew(["01_listen_notify.ipynb"]) == [(SECOND, None)]
    assert cells(course, SECOND)[0]["execution_count"] is None


def test_a_new_chapter_is_added_and_one_with_another_name_moves(
    course: WorkingCopy, change: Callable[..., None], checkout: Path
) -> None:
    third = "notebooks/02_new.ipynb"
    shutil.copy(checkout / SECOND, checkout / third)
    assert course.refresh() == Refreshed([third], [], [])
    (checkout / third).rename(checkout / "notebooks/03_new.ipynb")
    assert course.refresh().added == ["notebooks/03_new.ipynb"]
    assert not (course.folder / third).exists()
    change(SECOND, answer)
    (checkout / SECOND).unlink()
    assert course.refresh() == Refreshed([], [], [])
    assert (course.folder / SECOND).exists()


def test_what_is_no_notebook_any_more_counts_as_changed(
    course: WorkingCopy, checkout: Path
) -> None:
    (course.folder / FIRST).write_text("<<<<<<<")
    (checkout / FIRST).write_text(notebook("good_morning()"))
    assert course.refresh() == Refreshed([], [], [FIRST])


@pytest.mark.parametrize("chapter", ["09", "0", "README.md"])
def test_to_renew_what_there_is_not_names_what_there_is(chapter: str, course: WorkingCopy) -> None:
    with pytest.raises(ConfigurationError, match=f"{chapter}.*of 00_welcome, 01_listen_notify"):
        course.renew([chapter])


def test_without_a_course_there_is_no_copy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="run this in a clone"):
        WorkingCopy(tmp_path).refresh()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this course."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("notebooks", "docs", "sql"):
        shutil.copytree(ROOT / name, checkout / name)
    for page in (*ROOT.glob("*.md"), *ROOT.glob("*.yaml"), ROOT / "CITATION.cff", ROOT / "LICENSE"):
        shutil.copy(page, checkout)
    WorkingCopy(checkout).refresh()
    return checkout / FOLDER


def test_each_link_and_picture_of_the_course_is_in_the_copy(whole: Path) -> None:
    for page in [*whole.glob("*.md"), *whole.glob("notebooks/*.md")]:
        assert list(dead_links(page.read_text(), page.parent)) == [], page.name
    for path in NOTEBOOKS:
        copy = whole / "notebooks" / path.name
        for cell in json.loads(copy.read_text())["cells"]:
            source = "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
            assert list(dead_links(source, copy.parent)) == [], path.name
            for _, picture in IMAGE.findall(source):
                assert (copy.parent / picture).exists(), picture


def test_git_does_not_see_the_copy() -> None:
    done = subprocess.run(
        ["git", "check-ignore", f"{FOLDER}/{FIRST}"], cwd=ROOT, capture_output=True, check=False
    )
    if done.returncode == 128:
        pytest.skip("this is no clone")
    assert done.returncode == 0
