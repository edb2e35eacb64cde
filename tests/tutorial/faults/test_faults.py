"""Every fault, for real: the durable pipeline loses nothing, the article's where it must."""

import sys
from collections.abc import Iterator

import psycopg
import pytest
import redis

from reactive_demo import FaultBoard, ReactiveDemoError, Stack
from reactive_demo.tutorial.faults import FAULTS, Fault, FaultLab, break_it, run_all, table
from reactive_demo.tutorial.faults.pipeline import NAMES
from reactive_demo.tutorial.faults.servers import Servers

QUICK = {"Kill the listener", "Cut the wire", "Row too large", "Deliver again"}


@pytest.fixture(
    scope="module", params=["change table", pytest.param("log", marks=pytest.mark.long)]
)
def lab(request: pytest.FixtureRequest) -> Iterator[FaultLab]:
    with FaultLab(feed=request.param) as lab:
        yield lab


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.name in QUICK], ids=str)
def test_the_article_loses_and_the_durable_side_does_not(lab: FaultLab, fault: Fault) -> None:
    outcome = break_it(lab, fault)
    assert outcome.did.endswith(".")
    assert max(map(len, outcome.did.splitlines())) < 110, "a page of JupyterLab breaks it in a word"
    assert outcome.article.lost > 0
    assert (outcome.durable.lost, outcome.durable.stale) == (0, 0)


@pytest.mark.long
def test_all_of_them(lab: FaultLab, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = run_all(lab)
    with capsys.disabled():
        sys.stdout.write(f"\n{table(outcomes)}\n")
    assert [(o.durable.lost, o.durable.stale) for o in outcomes] == [(0, 0)] * len(FAULTS)
    for outcome in outcomes:
        if outcome.fault.loses:
            assert outcome.article.lost > 0, outcome
        elif outcome.fault.name != "Stop PostgreSQL":
            assert outcome.article.lost == 0, outcome
    assert lab.durable.lost + lab.durable.refused == 0
    lab.article.listener.check()
    lab.durable.listener.check()


def test_the_board_without_a_kernel_tells_what_each_fault_did(lab: FaultLab) -> None:
    board = FaultBoard(lab, flows=False)
    try:
        assert "Cut the wire" not in board.to_svg()
        board.click("Cut the wire")
        board.wait()
        picture = board.to_svg()
        assert picture.index(">Cut the wire<") < picture.index(">lost 10<")
        assert "<title>The article&#x27;s way: lost " in picture
    finally:
        board.close()


def test_no_more_profiles_are_stale_than_there_are(lab: FaultLab) -> None:
    lab.servers.empty_redis()
    assert lab.article.look().stale == len(NAMES)
    lab.article.repair()
    assert lab.article.look().stale == 0


def test_a_fault_that_there_is_not(lab: FaultLab) -> None:
    with pytest.raises(ReactiveDemoError, match=r"no fault 'Flood': use one of Kill the"):
        break_it(lab, "Flood")


def test_one_thing_at_a_time(lab: FaultLab) -> None:
    with lab.busy, pytest.raises(ReactiveDemoError, match="One thing at a time"):
        break_it(lab, "Burst")


def test_the_shared_servers_are_not_touched(lab: FaultLab, stack: Stack) -> None:
    with redis.Redis.from_url(stack.redis_url) as client:
        client.set("somebody's", "own")
        lab.servers.empty_redis()
        assert client.get("somebody's") == b"own"
        client.delete("somebody's")
    assert lab.servers.stack.database_url != stack.database_url
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        names = connection.execute("SELECT datname FROM pg_database").fetchall()
    assert ("reactive_demo_faults",) not in names


def test_servers_of_others_are_not_harmed(stack: Stack) -> None:
    others = Stack(stack.database_url, stack.redis_url, {})
    with redis.Redis.from_url(stack.redis_url) as client:
        client.set("somebody's", "own")
        servers = Servers(others, may_harm=False)
        for harm in (servers.empty_redis, lambda: servers.freeze_redis(1)):
            with pytest.raises(ReactiveDemoError, match=r"would harm all users of .* REDIS_URL"):
                harm()
        with pytest.raises(ReactiveDemoError, match="Only a PostgreSQL that the lab started"):
            Servers(others, may_harm=True).stop_postgres()
        assert client.get("somebody's") == b"own"
        Servers(others, may_harm=True).empty_redis()
        assert client.get("somebody's") is None
