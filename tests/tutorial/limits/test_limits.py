"""The lab of the chapter on limits measures on real servers, and leaves nothing behind."""

import psycopg
import pytest
import redis

from reactive_demo import Stack
from reactive_demo.tutorial.checks import ch12 as checks
from reactive_demo.tutorial.limits import LimitsLab, measure_listeners, measure_payload


@pytest.mark.long
def test_it_says_how_far_it_is_and_leaves_nothing_behind(stack: Stack) -> None:
    said: list[str] = []
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as client:
        before = set(client.scan_iter())
        with LimitsLab(stack, say=said.append) as lab:
            measure_listeners(lab)
            measure_payload(lab)
            assert checks.was_measured(lab, "listeners")
            assert checks.too_long_fails(lab)
        assert set(client.scan_iter()) == before
    assert said[:2] == ["1 of 3: 0 idle listeners", "2 of 3: 10 idle listeners"]
    with psycopg.connect(stack.database_url) as connection:
        left = connection.execute("SELECT FROM pg_database WHERE datname LIKE '%bench%'")
        assert left.fetchall() == []


@pytest.mark.long
def test_a_lab_that_is_made_again_takes_the_place_of_the_old_one(stack: Stack) -> None:
    with LimitsLab(stack, say=lambda _: None) as old, LimitsLab(stack, say=lambda _: None) as lab:
        assert old.places.database.closed
        assert lab.places.database.usable
