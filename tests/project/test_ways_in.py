"""The ways in other than `make lab`: workflows, containers, Binder, the citation."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tools.elsewhere import address, links

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [
    path
    for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    if path.stem != "config"
]


def follows(schema: str, *paths: Path) -> None:
    """Check files against one of check-jsonschema's own schemas."""
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"]
)
def test_the_workflows_are_workflows_and_end(schema: str) -> None:
    assert WORKFLOWS
    follows(schema, *WORKFLOWS)


def test_the_issue_forms_are_forms() -> None:
    assert FORMS
    follows("vendor.github-issue-forms", *FORMS)
    follows("vendor.github-issue-config", ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml")


def test_the_citation_can_be_cited() -> None:
    follows("vendor.citation-file-format", ROOT / "CITATION.cff")


def test_the_workflows_and_the_container_type_what_exists() -> None:
    targets = set(
        re.findall(r"^([\w$()./-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    targets |= {name.replace("$(VENV)", ".venv") for name in targets}
    steps = [
        step.get("run", "")
        for path in WORKFLOWS
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in job["steps"]
    ]
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    typed = [*steps, container["postCreateCommand"], container["postAttachCommand"]]
    made = [name for line in typed for name in re.findall(r"\bmake (\S+)", line)]
    assert len(made) >= 4
    assert set(made) <= targets


def test_every_python_that_is_promised_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = [line.split(" :: ")[-1] for line in project["classifiers"] if "Python ::" in line]
    matrix = yaml.safe_load(WORKFLOWS[0].read_text())["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == promised
    assert project["requires-python"] == f">={promised[0]}"


def test_the_site_links_to_where_the_notebooks_run_and_no_file_names_an_address() -> None:
    environment = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "some/where"}
    assert address(environment) == "https://github.com/some/where"
    assert address({}) == ""
    shown = links("some/where", "notebooks/00_welcome.ipynb")
    assert "(https://codespaces.new/some/where)" in shown
    binder = (
        "https://mybinder.org/v2/gh/some/where/HEAD?urlpath=lab/tree/notebooks/00_welcome.ipynb"
    )
    assert f"({binder})" in shown
    colab = (
        "https://colab.research.google.com/github/some/where/blob/HEAD/notebooks/00_welcome.ipynb"
    )
    assert f"({colab})" in shown
    (cell,) = re.findall(r"%pip.*", (ROOT / "docs" / "operations.md").read_text())
    assert cell == '%pip install -q "reactive-demo[all] @ git+ADDRESS"'


def test_binder_installs_the_checkout_with_the_tested_versions() -> None:
    folder = ROOT / ".binder"
    lines = (folder / "requirements.txt").read_text().splitlines()
    (constraint,) = [line.split()[1] for line in lines if line.startswith("--constraint")]
    assert (folder / constraint).resolve() == ROOT / "constraints.txt"
    assert "--editable .[all]" in lines  # pip takes it from where it runs: the checkout
    assert re.fullmatch(r"python-3\.\d\d\n", (folder / "runtime.txt").read_text())


def test_the_version_is_in_one_place_and_the_changelog_begins_with_it() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
    sources = [*ROOT.glob("reactive_demo/**/*.py"), ROOT / "CITATION.cff", ROOT / "README.md"]
    assert [path for path in sources if version in path.read_text()] == []
