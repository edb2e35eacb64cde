"""Chapter 09 goes on where RabbitMQ or Kafka is missing, and shows what the last run saw."""

from collections.abc import Callable
from typing import Any

import nbformat
import pytest

from tools.course import NOTEBOOKS


@pytest.mark.long
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("variable", "url"),
    [("RABBITMQ_URL", "amqp://127.0.0.1:{}/"), ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:{}")],
)
def test_the_chapter_does_without_one(
    variable: str,
    url: str,
    refused_port: int,
    monkeypatch: pytest.MonkeyPatch,
    start_kernel: Callable[[], Any],
) -> None:
    """Here it is one of the reader's own, which does not answer."""
    monkeypatch.setenv(variable, url.format(refused_port))
    kernel = start_kernel()
    (path,) = (path for path in NOTEBOOKS if path.name.startswith("09"))
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            kernel.run(cell)
    assert kernel.ask("print(repr(results).count('(last run)'), len(lab.missing))") == "8 1\n"
