"""The pages in docs/ agree with the code."""

import re
from pathlib import Path

import pytest

import reactive_demo
from tools.write_reference import SECTIONS, TARGET, reference

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.md")]
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./]+\.(?:py|sql|lua))`")


def test_architecture_names_only_files_that_exist() -> None:
    names = FILE.findall(ARCHITECTURE)
    assert len(names) > 20
    paths = [*ROOT.glob("reactive_demo/redis_cache/lua/*.lua"), *ROOT.glob("sql/*.sql")]
    short = {path.name for path in paths}  # in running text, a script goes by its name
    assert [name for name in names if not (ROOT / name).is_file() and name not in short] == []


def test_the_durable_path_is_an_evenings_reading() -> None:
    (table,) = re.findall(
        r"\*\*To read the durable path\*\*.*?\n\n(.*?)\n\n", ARCHITECTURE, re.DOTALL
    )
    names = FILE.findall(table)
    assert len(names) == len(set(names)) > 15
    assert sum(len((ROOT / name).read_text().splitlines()) for name in names) <= 2000


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_list_goes_on_after_what_belongs_to_an_item_on_the_site_too(path: Path) -> None:
    """MkDocs makes one paragraph of the items after it otherwise."""
    prose = FENCED.sub("", path.read_text(encoding="utf-8"))
    assert re.findall(r"^(?:\n {1,3}\S| {1,3}[-*] ).*", prose, re.MULTILINE) == []
    assert re.findall(r"^\n {4}[^-\s].*\n(?: .*\n)*[-*] .*", prose, re.MULTILINE) == []


def test_the_reference_is_current() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), "make reference"


def test_the_reference_has_every_public_name() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == {*reactive_demo.__all__, *reactive_demo._LATER}
