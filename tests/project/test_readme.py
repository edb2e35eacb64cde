"""What README says is so."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| \[.*?\]\((notebooks/.*?\.ipynb)\) \|.*\| (\d+) \|$", README, re.MULTILINE)


@pytest.mark.usefixtures("stack")
def test_its_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "'likes_count': " in capsys.readouterr().out


def test_it_lists_every_notebook() -> None:
    listed = {name for name, _ in ROWS}
    assert listed == {str(path.relative_to(ROOT)) for path in ROOT.glob("notebooks/*.ipynb")}


@pytest.mark.parametrize(("name", "minutes"), ROWS)
def test_it_tells_the_time_that_the_notebook_tells(name: str, minutes: str) -> None:
    cells = json.loads((ROOT / name).read_text(encoding="utf-8"))["cells"]
    assert f"**Time**: {minutes} minutes" in "".join(cells[0]["source"])
