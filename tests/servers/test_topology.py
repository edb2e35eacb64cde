"""A primary and its standby, and the command that runs them beside a Redis Cluster."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from reactive_demo.postgres import open_postgres
from reactive_demo.servers.cluster import UNSAVED, Node
from reactive_demo.servers.pair import PostgresPair

pytestmark = pytest.mark.long


def committed(url: str, number: int) -> int:
    """How many rows there are once this one is committed."""
    with open_postgres(url, "test", silence_timeout=5) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS public.t (n int)")
        connection.execute("INSERT INTO public.t VALUES (%s)", [number])
        return int(connection.execute("SELECT count(*) FROM public.t").fetchone()[0])


@pytest.mark.parametrize("synchronous", [False, True], ids=["asynchronous", "synchronous"])
def test_the_roles_change_as_often_as_one_likes(*, synchronous: bool) -> None:
    with PostgresPair(synchronous=synchronous, settings=["fsync=off"]) as pair:
        folder = pair.primary.folder.parent
        for number in range(1, 4):
            assert committed(pair.database_url, number) == number
            pair.primary.await_standby(pair.standby, synchronous=synchronous)
            pair.primary.stop()  # cleanly: the standby has all
            pair.promote()
            pair.follow()
        assert committed(pair.database_url, 4) == 4
    assert not folder.exists()


def test_the_command_prints_a_url_does_what_is_entered_and_leaves_nothing() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "reactive_demo", "cluster"],
        env=os.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().removeprefix("export DATABASE_URL='").rstrip("'\n")
        assert committed(url, 1) == 1
        assert process.stdout.readline().startswith("export REDIS_URL='redis://")
        for word, said in {
            "nonsense": "# enter kill",
            "kill": "# a is down; b is the standby",
            "promote": "# a is down; b is the primary",
            "start": "# a is a former primary that takes writes; b is the primary",
            "follow": "# a is the standby; b is the primary",
            "kill redis": "# 127.0.0.1:",
            "start redis": "# 1 of 6 started again",
        }.items():
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(said)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        folder = Path(unquote(url.partition("?host=")[2].partition(",")[0])).parent
        assert not folder.exists()
    finally:
        process.kill()
        process.communicate()


def test_a_port_that_another_server_has_is_given_up(tmp_path: Path) -> None:
    """The other one answers there, sooner than the new one ends."""
    first, second = (Node(tmp_path / name, *UNSAVED) for name in ("first", "second"))
    try:
        first.start()
        second.port, second.client = first.port, first.client
        second.start()
        assert second.port != first.port
        second.client.set("whose", "the second's")
        assert first.client.get("whose") is None
    finally:
        second.stop()
        first.stop()
