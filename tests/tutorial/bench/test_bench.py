"""The bench measures what it says and leaves nothing behind; the figures are not tested."""

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from reactive_demo import Stack
from reactive_demo.tutorial.bench import measure, run
from reactive_demo.tutorial.bench.followers import PEERS

EXPECTED = {
    "writes by 32 writers (more is better)": 5 + len(PEERS),
    "changes from a backlog (more is better)": 4,
    "changes from a backlog into a Redis cluster (more is better)": 2,
    "commit to cache, light load, median (less is better)": 3 + len(PEERS),
    "commit to cache at 1,500 writes/s, p99 (less is better)": 3 + len(PEERS),
    "commit to cache, 32 writers flat out, p99 (less is better)": 3 + len(PEERS),
    "restart after 1,000 changes missed (less is better)": 2,
    "fill an empty cache (less is better)": 2,
    "an idle listener and its backends (less is better)": 2,
}


class Work:
    """Two pipelines whose values are known."""

    WORK, UNIT, GOAL, ROUNDS = "work", "1/s", "fast", (2, 3)

    def pipelines(self, _: object, *, quick: bool) -> dict[str, Callable[[], float]]:
        del quick
        floor, ours = iter([10.0, 30.0, 50.0]), iter([5.0, 3.0, 0.0])
        return {"floor": lambda: next(floor), "ours": lambda: next(ours)}


@pytest.mark.parametrize(
    ("quick", "values", "ratio"), [(True, [5, 3], 4 / 20), (False, [5, 3, 0], 3 / 30)]
)
def test_a_ratio_is_of_the_medians_of_all_rounds(
    *, quick: bool, values: list[float], ratio: float
) -> None:
    floor, ours = measure(Work(), None, lambda _: None, "", quick=quick)
    assert (ours.values, ours.ratio) == (values, ratio)
    assert floor.ratio == 1
    assert f"{ratio:.2f} x" in str(ours)


@pytest.mark.long
def test_it_tells_each_pipeline_beside_its_baseline(stack: Stack, tmp_path: Path) -> None:
    lines: list[str] = []
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as client:
        before = set(client.scan_iter())
        figures = run(stack, lines.append, quick=True, file=tmp_path / "figures.json")
        assert set(client.scan_iter()) == before
    kept = json.loads((tmp_path / "figures.json").read_text())
    works = [figure["work"] for figure in kept]
    assert {work: works.count(work) for work in works} == EXPECTED
    busy = [
        figure for figure in figures if "idle" not in figure.work
    ]  # its CPU may be under a tick
    assert all(value > 0 for figure in busy for value in figure.values)
    assert all(figure["goal"] for figure in kept)
    notes = {figure.work.split(",")[0].split(" (")[0]: figure.note for figure in figures}
    assert "rows/s" in notes["fill an empty cache"]
    assert "p50" in notes["commit to cache at 1"]
    assert "20,000 rows" in lines[0]
    assert "about a minute" in lines[1]
    assert len(lines) == 2 + 2 * len(figures) + len(EXPECTED)
    with psycopg.connect(stack.database_url) as connection:
        left = connection.execute("SELECT FROM pg_database WHERE datname LIKE '%bench%'")
        assert left.fetchall() == []
