"""The reader's copy of the course, which `reactive-demo lab` opens; the originals stay as they are.

In the copy, outputs are empty, because they would answer the questions, and solutions are
collapsed. Links work as they do in a clone, because the copy is laid out like one. What the reader
has changed is never replaced unasked, and never lost: running a chapter does not change it.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path

from reactive_demo.errors import ConfigurationError

__all__ = ["FIRST", "FOLDER", "Refreshed", "WorkingCopy"]

FOLDER = "my-course"
FIRST = "notebooks/00_welcome.ipynb"

CHAPTERS = "notebooks/[0-9][0-9]_*.ipynb"
PAGES = (
    *("notebooks/*.md", "notebooks/images/*", "docs/*.md", "sql/*.sql"),
    *("*.md", "*.yaml", "*.cff"),
)
"""What the chapters lead to, and what that leads to."""

DELIVERED = ".delivered.json"
"""The file that says what each file read like when it was delivered."""


@dataclass(frozen=True)
class Refreshed:
    """What `WorkingCopy.refresh` has done, by the names of the chapters."""

    added: list[str]
    updated: list[str]
    kept: list[str]
    """Those of which there is a newer version, but which the reader has changed."""


class WorkingCopy:
    """The copy in the folder `my-course` of a checkout."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout
        self.folder = checkout / FOLDER

    def refresh(self) -> Refreshed:
        """Add what is missing and update what the reader has not changed.

        Raises ConfigurationError if there is no course to copy.
        """
        done = Refreshed([], [], [])
        delivered = self._delivered()
        originals = self._originals()
        for name, original in originals.items():
            target = self.folder / name
            if target.exists() and _digest(target) == _digest(original):
                delivered[name] = _digest(original)
            elif self._is_unchanged(name, delivered):
                (done.updated if target.exists() else done.added).append(name)
                self._deliver(name, original.read_bytes(), delivered)
            elif delivered.get(name) != _digest(original):
                done.kept.append(name)
        for name in delivered.keys() - originals:  # renamed, perhaps
            if self._is_unchanged(name, delivered):
                (self.folder / name).unlink(missing_ok=True)
            del delivered[name]
        self._remember(delivered)
        return Refreshed(*(_chapters(names) for names in (done.added, done.updated, done.kept)))

    def renew(self, chapters: Sequence[str] = ()) -> list[tuple[str, str | None]]:
        """Replace the named chapters, or everything; return each with its old version's new name.

        A chapter is named by its number or its file. What the reader had changed is kept,
        under a new name. Raises ConfigurationError if there is no such chapter.
        """
        delivered = self._delivered()
        renewed = []
        for name, original in self._named(chapters).items():
            aside = None if self._is_unchanged(name, delivered) else self._put_by(name)
            self._deliver(name, original.read_bytes(), delivered)
            renewed.append((name, aside))
        self._remember(delivered)
        return renewed

    def _originals(self) -> dict[str, Path]:
        """Return the files of the course by their names in the checkout."""
        if not (self._checkout / FIRST).is_file():
            raise ConfigurationError(
                f"There are no notebooks in {self._checkout}: run this in a clone of the "
                "repository, because the installed package does not contain them."
            )
        return {
            str(path.relative_to(self._checkout)): path
            for pattern in (CHAPTERS, *PAGES)
            for path in sorted(self._checkout.glob(pattern))
        }

    def _named(self, chapters: Sequence[str]) -> dict[str, Path]:
        originals = self._originals()
        if not chapters:
            return originals
        named = {}
        for chapter in chapters:
            start = f"notebooks/{Path(chapter).stem}"
            found = [name for name in _chapters(originals) if name.startswith(start)]
            if len(found) != 1:
                known = ", ".join(Path(name).stem for name in _chapters(originals))
                raise ConfigurationError(
                    f"There is no chapter {chapter!r}: name one by its number, of {known}."
                )
            named[found[0]] = originals[found[0]]
        return named

    def _is_unchanged(self, name: str, delivered: dict[str, str]) -> bool:
        target = self.folder / name
        return not target.exists() or _digest(target) == delivered.get(name)

    def _put_by(self, name: str) -> str:
        """Give a file another name, which is free, and return that."""
        path = self.folder / name
        for number in count(1):
            free = path.with_stem(f"{path.stem}-mine{number if number > 1 else ''}")
            if not free.exists():
                path.rename(free)
                return str(free.relative_to(self.folder))
        raise AssertionError

    def _deliver(self, name: str, content: bytes, delivered: dict[str, str]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_untouched(content) if path.suffix == ".ipynb" else content)
        delivered[name] = _digest(path)

    def _delivered(self) -> dict[str, str]:
        with suppress(FileNotFoundError, ValueError):  # without it, whatever differs is kept
            return dict(json.loads((self.folder / DELIVERED).read_text()))
        return {}

    def _remember(self, delivered: dict[str, str]) -> None:
        (self.folder / DELIVERED).write_text(json.dumps(delivered, indent=1, sort_keys=True))


def _chapters(names: Sequence[str] | dict[str, Path]) -> list[str]:
    return [name for name in names if name.endswith(".ipynb")]


def _untouched(content: bytes) -> bytes:
    """Return a notebook as if nobody had run it, with its solutions collapsed."""
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        if "solution" in cell["metadata"].get("tags", ()):
            cell["metadata"].setdefault("jupyter", {})["source_hidden"] = True
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _digest(path: Path) -> str:
    """Return what tells one version of a file from another: of a notebook, what was written in it.

    Its outputs do not count, nor does the empty cell that a run of the last one leaves behind.
    """
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        with suppress(ValueError, KeyError, TypeError):  # no notebook any more
            content = "\0".join(_written(json.loads(content))).encode()
    return sha256(content).hexdigest()


def _written(notebook: dict[str, list[dict[str, list[str] | str]]]) -> Iterator[str]:
    for cell in notebook["cells"]:
        if source := "".join(cell["source"]).strip():
            yield f"{cell['cell_type']}: {source}"
