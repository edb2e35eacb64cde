"""pyproject.toml is the list of packages; environment.yml and constraints.txt agree with it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from reactive_demo.extras import EXTRA_OF

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


@pytest.fixture(scope="module")
def wanted(project: dict[str, Any]) -> list[Requirement]:
    """The requirements of the package with the extra `test`, which includes the others."""
    return [*map(Requirement, project["dependencies"]), *extra("test", project)]


def extra(name: str, project: dict[str, Any]) -> list[Requirement]:
    """The requirements of an extra, with those of the extras that it names."""
    found = []
    for requirement in map(Requirement, project["optional-dependencies"][name]):
        if requirement.name == project["name"]:
            found += [one for other in requirement.extras for one in extra(other, project)]
        else:
            found.append(requirement)
    return found


def test_the_base_install_is_three_packages(project: dict[str, Any]) -> None:
    names = [Requirement(line).name for line in project["dependencies"]]
    assert names == ["psycopg", "redis", "tenacity"]


def test_the_extra_all_is_all_of_them_but_the_tests(project: dict[str, Any]) -> None:
    apart = ("all", "debezium", "test")  # a peer to measure, large, and in need of Java
    others = [name for name in project["optional-dependencies"] if name not in apart]
    (all_of_them,) = map(Requirement, project["optional-dependencies"]["all"])
    assert all_of_them.extras == set(others)


def test_each_package_that_an_extra_is_named_for_is_in_that_extra(project: dict[str, Any]) -> None:
    """Those that come with another package of the extra are not listed."""
    come_along = {"IPython", "traitlets"}
    for package, name in EXTRA_OF.items():
        listed = {canonicalize_name(one.name) for one in extra(name, project)}
        assert package in come_along or canonicalize_name(package) in listed


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
