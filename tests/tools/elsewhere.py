"""Where the notebooks run without an installation: links for the site, which knows its address."""

from collections.abc import Mapping

__all__ = ["address", "links"]


def address(environment: Mapping[str, str]) -> str:
    """Return the repository's address, as GitHub's workflows have it; '' elsewhere."""
    repository = environment.get("GITHUB_REPOSITORY", "")
    server = environment.get("GITHUB_SERVER_URL", "https://github.com")
    return repository and f"{server}/{repository}"


def links(repository: str, notebook: str) -> str:
    """Return the ways to run a notebook of a repository (`owner/name`), as Markdown."""
    binder = f"https://mybinder.org/v2/gh/{repository}/HEAD?urlpath=lab/tree/{notebook}"
    colab = f"https://colab.research.google.com/github/{repository}/blob/HEAD/{notebook}"
    return (
        f"Run it: [Codespaces](https://codespaces.new/{repository}) · [Binder]({binder}) · "
        f"[Colab]({colab}), with [a first cell](../docs/operations.md#installing)"
    )
