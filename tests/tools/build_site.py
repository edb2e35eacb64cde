"""Build the static site from README, notebooks and docs: `make site`.

The pages keep the places that they have in the checkout, and so their links lead where they should;
a link to a notebook becomes one to its page. A broken link fails the build.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.commands.build import build
from mkdocs.config import load_config

from tools.elsewhere import address, links

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "build" / "pages"
STAGED = [
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"),
    *("CITATION.cff", "compose.yaml"),
    *("notebooks", "docs", "sql"),
]
LINK = re.compile(r"(\]\((?!https?:)[^)\s]*?\d\d_\w+)\.ipynb\b")
BADGE = re.compile(r"^\[!\[.*\n", re.MULTILINE)
DOCS = ["architecture", "operations", "values", "accounts", "performance", "reference"]


def stage() -> None:
    """Copy the pages to where MkDocs reads them."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    hidden = shutil.ignore_patterns(".*")
    for name in STAGED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, PAGES / name, ignore=hidden)
        else:
            shutil.copy(path, PAGES)
    operations = PAGES / "docs" / "operations.md"
    text = operations.read_text(encoding="utf-8")
    operations.write_text(text.replace("ADDRESS", address(os.environ) or "ADDRESS"), "utf-8")
    shutil.copy(Path(__file__).with_name("site.css"), PAGES)
    readme = PAGES / "README.md"
    readme.write_text(BADGE.sub("", readme.read_text(encoding="utf-8")), encoding="utf-8")
    for path in (PAGES / "notebooks").glob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if repository := os.environ.get("GITHUB_REPOSITORY"):
            first = notebook["cells"][0]
            title, _, rest = "".join(first["source"]).partition("\n")
            ways = links(repository, f"notebooks/{path.name}").replace(".md#", ".html#")
            first["source"] = f"{title}\n\n{ways}\n{rest}"
        for cell in notebook["cells"]:
            if "solution" in cell["metadata"].pop("tags", []):  # which the page would list
                collapse(cell)
            if cell["cell_type"] == "markdown":
                cell["source"] = LINK.sub(r"\1.html", "".join(cell["source"]))
        path.write_text(json.dumps(notebook), encoding="utf-8")


def collapse(cell: dict[str, Any]) -> None:
    """Make a solution a text that is closed until it is wanted, as in JupyterLab."""
    code = "".join(cell["source"]).removeprefix("# a solution\n")
    cell["cell_type"] = "markdown"
    cell["source"] = f"<details><summary>Solution</summary>\n\n```python\n{code}\n```\n\n</details>"
    for only_code in ("outputs", "execution_count"):
        del cell[only_code]


def navigation() -> list[dict[str, object]]:
    """Return the table of contents: the chapters in order, each by its number and title."""
    chapters = [
        {f"{path.name[:2]} {title(path)}": f"notebooks/{path.name}"}
        for path in sorted((PAGES / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    ]
    pages = [
        {name.capitalize(): f"docs/{name}.md"}
        for name in DOCS
        if (PAGES / "docs" / f"{name}.md").exists()
    ]
    return [
        {"Start": "README.md"},
        {"The course": chapters},
        {"The pattern on a page": "notebooks/summary.md"},
        {"Glossary": "notebooks/glossary.md"},
        {"The library": pages},
        {
            "The project": [
                {"Changes": "CHANGELOG.md"},
                {"Contributing": "CONTRIBUTING.md"},
                {"Security": "SECURITY.md"},
            ]
        },
    ]


def title(path: Path) -> str:
    """Return a notebook's first heading."""
    first, *_ = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return str("".join(first["source"])).splitlines()[0].removeprefix("# ")


def main() -> None:
    """Stage the pages, and build the site."""
    stage()
    config = load_config(str(ROOT / "mkdocs.yml"), nav=navigation(), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    print(f"The site is in {Path(config.site_dir).relative_to(ROOT)}/index.html")


if __name__ == "__main__":
    main()
