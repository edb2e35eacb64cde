"""One list of packages: what conda installs and what was tested is what pyproject.toml names."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


@pytest.fixture(scope="module")
def wanted(project: dict[str, Any]) -> list[Requirement]:
    """What the package and its tests need."""
    return [
        Requirement(line)
        for line in (*project["dependencies"], *project["optional-dependencies"]["test"])
    ]


def test_conda_installs_what_pyproject_names(
    wanted: list[Requirement], project: dict[str, Any]
) -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, by_pip = environment["dependencies"]
    assert conda == [f"python{project['requires-python']}", "pip"]
    options = [line for line in by_pip["pip"] if line.startswith("-")]
    assert options == ["--constraint constraints.txt", "--editable ."]
    listed = [Requirement(line) for line in by_pip["pip"] if not line.startswith("-")]
    assert sorted(map(str, listed)) == sorted(map(str, wanted))


def test_constraints_pin_a_fitting_version_of_every_package(wanted: list[Requirement]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}
    for requirement in wanted:
        (pin,) = pinned[canonicalize_name(requirement.name)].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), requirement


def test_constraints_name_packages_and_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert "://" not in line
        assert not line.startswith("-")
        assert Requirement(line).url is None
