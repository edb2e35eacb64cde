"""What README and the course's pages say is so."""

import json
import re
from pathlib import Path

import pytest

from tools.course import NOTEBOOKS
from tools.notebook_style import BADGE, IMAGE, dead_links

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| \[.*?\]\((notebooks/.*?\.ipynb)\) \|.*\| (\d+) \|$", README, re.MULTILINE)


@pytest.mark.usefixtures("valkey_url")
def test_its_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "'likes_count': " in capsys.readouterr().out


def test_it_lists_every_notebook() -> None:
    listed = {name for name, _ in ROWS}
    assert listed == {str(path.relative_to(ROOT)) for path in NOTEBOOKS}


@pytest.mark.parametrize(("name", "minutes"), ROWS)
def test_it_tells_the_time_that_the_notebook_tells(name: str, minutes: str) -> None:
    cells = json.loads((ROOT / name).read_text(encoding="utf-8"))["cells"]
    assert f"**Time**: {minutes} minutes" in "".join(cells[0]["source"])


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_pages_links_and_pictures_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert list(dead_links(text, page.parent)) == []
    for words, picture in IMAGE.findall(BADGE.sub("", text)):
        assert len(words) >= 30, picture
        assert (page.parent / picture).exists()


def test_the_glossary_is_in_order() -> None:
    text = (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.MULTILINE)
    assert len(words) > 40
    assert words == sorted(words)
