"""What docs/operations.md names exists, and what it shows can be used as it is."""

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from reactive_demo import Options
from reactive_demo.cli import build_parser
from reactive_demo.listener.listener import Listener
from reactive_demo.listener.stats import Stats
from reactive_demo.urls import read_database_url, read_redis_url

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def shown(language: str) -> str:
    """The one block of code in this language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


def test_every_figure_of_the_listener_is_one() -> None:
    fields = {field.name for field in dataclasses.fields(Stats)} | {"set_aside"}
    named = set(re.findall(r"`stats\.(\w+)`", PAGE))
    assert len(named) > 5
    assert named <= fields
    assert all(hasattr(Listener, name) for name in re.findall(r"`listener\.(\w+)`", PAGE))
    options = {field.name for field in dataclasses.fields(Options)}
    assert set(re.findall(r"`Options\.(\w+)`", PAGE)) <= options


def test_every_command_is_one() -> None:
    (actions,) = (action for action in build_parser()._actions if action.dest == "command")
    named = set(re.findall(r"`reactive-demo (\w+)", PAGE))
    assert len(named) > 5
    assert named <= set(actions.choices)


def test_every_url_can_be_read() -> None:
    for url in re.findall(r"`(postgresql://[^`]+/[^`]+)`", PAGE):
        assert read_database_url(url) == url
    caches = re.findall(r"`(rediss://[^`]+)`", PAGE)
    assert caches
    for url in caches:
        assert read_redis_url(url) == url


def test_the_queries_run(captured_database: str) -> None:
    queries = [query for query in shown("sql").split(";") if query.strip()]
    assert len(queries) == len(re.findall(r"\| query \d", PAGE))
    with psycopg.connect(captured_database) as connection:
        for query in queries:
            connection.execute(query.encode())


def test_the_unit_is_one(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze on this machine")
    program = Path(sys.executable).with_name("reactive-demo")
    unit = tmp_path / "reactive-demo-listen@profile.service"
    unit.write_text(shown("ini").replace("/opt/reactive-demo/bin/reactive-demo", str(program)))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    said = [line for line in checked.stderr.splitlines() if unit.name in line]
    assert (checked.returncode, said) == (0, [])


def test_the_container_starts_a_command_that_is_one() -> None:
    words = re.search(r"^CMD (\[.*\])$", shown("dockerfile"), re.MULTILINE)[1]
    options = build_parser().parse_args(re.findall(r'"([^"]+)"', words))
    assert options.command == "listen"
