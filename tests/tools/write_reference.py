"""Write docs/reference.md from the docstrings of the public names: `make reference`."""

import argparse
import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

import reactive_demo
from reactive_demo.cli import build_parser

TARGET = Path(__file__).resolve().parents[2] / "docs" / "reference.md"

HEAD = """# Reference

Every public name, to be imported from `reactive_demo`; `make reference` writes this page from the
docstrings. Durations are in seconds.
"""

SECTIONS = {
    "The servers": ["connect", "Stack"],
    "Capture": ["install", "uninstall", "read_sql"],
    "The application": ["Profiles", "Transaction"],
    "Feeds": ["ChangeTableFeed", "LogFeed", "NotifyFeed", "Options"],
    "The listener": ["Listener", "State", "Stats"],
    "The cache": ["Cache", "ReadThrough"],
    "Brokers in its place (needs the extra brokers)": ["KafkaSink", "RabbitSink"],
    "Errors": [
        "ReactiveDemoError",
        "ConfigurationError",
        "UnavailableError",
        "LockTimeoutError",
        "NotCapturedError",
        "RefusedError",
    ],
    "On the screen (needs the extra notebook)": [
        "LiveLabel",
        "RowGrid",
        "ProfileCard",
        "Windows",
        "KeepInView",
        "BurstButton",
        "FlowView",
    ],
    "For the tutorial (needs the extra all)": [
        "set_stage",
        "ProfileApp",
        "AppWindows",
        "FaultLab",
        "FaultBoard",
    ],
}

FORMER = {"set_aside", "words", "aside"}
"""Names that are kept for those who use them."""

ITEM = " " * 4
"""What belongs to an item of a list is so far to the right, and ends with an empty line.

GitHub does with less, MkDocs does not.
"""


def reference() -> str:
    """Return the page."""
    parts = [HEAD]
    for title, names in SECTIONS.items():
        parts += [f"## {title}\n", *(Entry(name).text() for name in names)]
    return "\n".join([*parts, "## Commands\n", *commands()])


class Entry:
    """A public name, as its source and docstrings describe it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thing = getattr(reactive_demo, name)
        self._source = textwrap.dedent(inspect.getsource(self._thing))
        (self._node,) = ast.parse(self._source).body

    def text(self) -> str:
        """Return heading, docstring, attributes and methods."""
        doc = f"{inspect.cleandoc(self._thing.__doc__)}\n"
        if isinstance(self._node, ast.FunctionDef):
            return f"### `{self._name}{self._signature(self._node)}`\n\n{doc}"
        assert isinstance(self._node, ast.ClassDef)
        methods = [one for one in self._node.body if isinstance(one, ast.FunctionDef)]
        inits = [one for one in methods if one.name == "__init__"]
        found = list(self._attributes(self._node.body))
        found += [field for init in inits for field in self._attributes(init.body)]
        found += [self._method(method) for method in methods]
        items = [
            _item(f"**`{name}`**: {inspect.cleandoc(words)}\n")
            for name, words in found
            if words and not name.startswith("_") and name not in FORMER
        ]
        if issubclass(self._thing, Enum):
            items += [f"- `{one.name}`: {one}\n" for one in self._thing]
        heading = self._name + "".join(map(self._signature, inits))
        return "\n".join([f"### `{heading}`\n", doc, *(["".join(items)] if items else [])])

    def _attributes(self, body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
        """Yield the attributes that a docstring follows: name, type and default; docstring."""
        for statement, after in pairwise(body):
            match statement, after:
                case ast.AnnAssign(), ast.Expr(ast.Constant(str(words))):
                    name = self._text(statement.target)
                    kind = self._text(statement.annotation)
                    default = self._text(statement.value) if statement.value else ""
                    shown = "" if kind.startswith(("Signal", "ClassVar")) else f": {kind}"
                    if shown and default and not default.startswith("field("):
                        shown += f" = {default}"
                    yield name.removeprefix("self.") + shown, words
                case ast.Assign(), ast.Expr(ast.Constant(str(words))):
                    yield self._text(statement.targets[0]).removeprefix("self."), words

    def _method(self, method: ast.FunctionDef) -> tuple[str, str]:
        is_property = "property" in map(self._text, method.decorator_list)
        name = method.name + ("" if is_property else self._signature(method))
        return name, ast.get_docstring(method) or ""

    def _signature(self, function: ast.FunctionDef) -> str:
        """Return parameters and result as they are written in the source."""
        given = function.args
        defaults = [None] * (len(given.args) - len(given.defaults)) + given.defaults
        shown = [
            *map(self._parameter, given.args, defaults),
            *([f"*{self._parameter(given.vararg)}"] if given.vararg else []),
            *(["*"] if given.kwonlyargs and not given.vararg else []),
            *map(self._parameter, given.kwonlyargs, given.kw_defaults),
            *([f"**{self._parameter(given.kwarg)}"] if given.kwarg else []),
        ]
        result = self._text(function.returns).strip('"')
        listed = ", ".join(one for one in shown if one not in ("self", "cls"))
        return f"({listed})" + (f" -> {result}" if result != "None" else "")

    def _parameter(self, parameter: ast.arg, default: ast.expr | None = None) -> str:
        return self._text(parameter) + (f" = {self._text(default)}" if default else "")

    def _text(self, node: ast.AST | None) -> str:
        return (ast.get_source_segment(self._source, node) if node else None) or "None"


def _item(words: str) -> str:
    """Return an item of a list; another may follow."""
    item = textwrap.indent(words, ITEM).replace(ITEM, "- ", 1)
    return f"{item}\n" if "\n\n" in item else item


def commands() -> Iterator[str]:
    """Yield a line for each command, and one for each of its options."""
    parser = build_parser()
    (action,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    named: dict[str, Any] = {one.dest: one for one in action._choices_actions}
    for name, command in action.choices.items():
        yield f"- **`reactive-demo {name}`**: {named[name].help}."
        for option in command._actions:
            if option.dest != "help":
                words = " ".join(option.option_strings) or option.metavar
                yield f"{ITEM}- `{words}`" + (f": {option.help}" if option.help else "")
        if command.epilog:
            yield f"\n{ITEM}{command.epilog}\n"
    yield f"\n{parser.epilog}\n"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(f"wrote {TARGET.name}", file=sys.stderr)
