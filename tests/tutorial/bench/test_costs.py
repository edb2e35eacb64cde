"""What the feeds cost, as a picture; the figures are not tested."""

import pytest
import redis

from reactive_demo import Stack
from reactive_demo.tutorial.bench.costs import Cost, Costs, measure_costs


def test_it_is_told_in_words_and_drawn() -> None:
    costs = Costs([Cost("no cache at all", 1000, None), Cost("the log", 900, 0.5)])
    assert str(costs).splitlines() == [
        "no cache at all: 1,000 writes a second",
        "the log: 900 writes a second, 0.50 ms to the cache",
    ]
    assert costs.png().startswith(b"\x89PNG")


@pytest.mark.long
def test_each_way_is_measured_and_nothing_is_left(stack: Stack) -> None:
    said: list[str] = []
    with redis.Redis.from_url(stack.redis_url) as client:
        before = set(client.scan_iter())
        costs = measure_costs(stack, said.append, probes=5)
        assert set(client.scan_iter()) == before
    assert len(said) == len(costs.measured) == 4
    assert all(cost.writes > 0 for cost in costs.measured)
    assert [cost.latency is None for cost in costs.measured] == [True, False, False, False]
