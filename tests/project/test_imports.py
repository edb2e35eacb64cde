"""Imports point one way: along the path of a change, and from the tutorial to the library."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "reactive_demo"

LAYERS = (
    ("errors", "exact_json"),
    ("changes", "extras", "hosts", "keys", "log_versions", "options", "signals", "urls", "waiting"),
    ("settings", "postgres"),
    ("app", "capture"),
    ("feeds",),
    ("redis_cache", "sinks"),
    ("listener", "screen"),
    ("servers",),
    ("tools",),
    ("tutorial",),
    ("cli", "_moved", PACKAGE),
    ("__main__",),
)
"""The folders and modules of the package; each may import those in the layers above it."""


def module_of(path: Path) -> str:
    """The name of a file's module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in (ROOT / PACKAGE).rglob("*.py")}


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, in functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else node.module


GRAPH = {module: set(imported(path)) for module, path in MODULES.items()}


def layer(module: str) -> int:
    """The layer that a module belongs to."""
    top = module.split(".")[1] if "." in module else PACKAGE
    (found,) = (number for number, names in enumerate(LAYERS) if top in names)
    return found


def test_the_graph_is_that_of_the_package() -> None:
    assert "reactive_demo.redis_cache.cache" in GRAPH["reactive_demo.screen.label"]
    assert "reactive_demo.feeds" in GRAPH["reactive_demo.listener.leadership"]
    assert "reactive_demo.tools.audit.command" in GRAPH["reactive_demo.cli"]


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        list(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_imports_point_one_way() -> None:
    """Within a folder they may point anywhere; two folders of one layer know nothing of another."""
    backwards = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if module.split(".")[1:2] != other.split(".")[1:2] and layer(module) <= layer(other)
    ]
    assert backwards == []


def test_only_the_command_line_and_the_names_of_the_package_know_the_tutorial() -> None:
    who = {
        module.split(".")[1]
        for module, others in GRAPH.items()
        if any(other.startswith("reactive_demo.tutorial") for other in others)
    }
    assert who <= {"tutorial", "cli", "_moved"}
