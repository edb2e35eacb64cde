"""Labs beside each other, and on servers that are not theirs."""

import psycopg
import pytest
import redis

from reactive_demo import ReactiveDemoError, Stack
from reactive_demo.tutorial.faults import FaultLab, break_it
from reactive_demo.tutorial.faults.servers import Servers, reset


@pytest.mark.long
def test_a_lab_on_servers_of_others_works_in_a_corner_of_its_own(stack: Stack) -> None:
    others = Stack(stack.database_url, stack.redis_url, {})
    with FaultLab(others) as lab:
        assert break_it(lab, "Cut the wire").durable.lost == 0
        with pytest.raises(ReactiveDemoError, match="would harm"):
            break_it(lab, "Empty Redis")
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("SELECT 1")
        names = connection.execute("SELECT datname FROM pg_database").fetchall()
    assert ("reactive_demo_faults",) not in names
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as client:
        assert [key for key in client.scan_iter() if "lab_" in key] == []


@pytest.mark.long
def test_two_labs_have_servers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/absent")
    first, second = Servers.own(), Servers.own()
    try:
        assert first.redis_url != second.redis_url
        with redis.Redis.from_url(first.redis_url) as client:
            client.set("somebody's", "own")
            second.empty_redis()
            assert client.get("somebody's") == b"own"
    finally:
        first.close()
        second.close()


@pytest.mark.long
def test_the_newest_lab_of_a_process_ends_the_one_before() -> None:
    first = FaultLab().start()
    with FaultLab() as second:
        assert first.durable.listener.state == "stopped"
        assert break_it(second, "Cut the wire").durable.lost == 0
    first.close()


@pytest.mark.long
def test_reset_throws_a_labs_data_away() -> None:
    servers = Servers.own()
    with pytest.raises(ReactiveDemoError, match="are in use"):
        reset()
    servers.close()
    removed = reset()
    assert {folder.name for folder in removed} == {"data"}
    assert not any(folder.exists() for folder in removed)
