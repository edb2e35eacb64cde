"""The bench measures what it says and leaves nothing behind; the figures are not tested."""

import json
from pathlib import Path

import psycopg
import pytest
import redis

from reactive_demo import Stack
from reactive_demo.bench import run

EXPECTED = {
    "writes by 32 writers (more is better)": 4,
    "changes from a backlog (more is better)": 3,
    "commit to cache, light load, median (less is better)": 2,
}


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
    assert all(value > 0 for figure in figures for value in figure.values)
    assert [figures[0].ratio, figures[4].ratio, figures[7].ratio] == [1, 1, 1]
    assert len(lines) == len(figures) + len(EXPECTED)
    with psycopg.connect(stack.database_url) as connection:
        left = connection.execute("SELECT FROM pg_database WHERE datname LIKE '%bench%'")
        assert left.fetchall() == []
