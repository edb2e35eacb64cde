"""The bench measures what it says and leaves nothing behind; the figures are not tested."""

import json
from pathlib import Path

import psycopg
import pytest
import redis

from reactive_demo import Stack
from reactive_demo.tutorial.bench import run

EXPECTED = {
    "writes by 32 writers (more is better)": 4,
    "changes from a backlog (more is better)": 3,
    "commit to cache, light load, median (less is better)": 2,
    "commit to cache, 32 writers flat out, p99 (less is better)": 2,
    "restart after 1,000 changes missed (less is better)": 1,
    "fill an empty cache (less is better)": 1,
    "an idle listener and its backend (less is better)": 3,
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
    assert [figures[n].ratio for n in (0, 4, 7, 9, 13)] == [1] * 5
    assert [figures[n].ratio for n in (11, 12)] == [None] * 2, "there is nothing to compare with"
    assert all(figure["goal"] for figure in kept)
    assert "rows/s" in str(figures[12])
    assert "50,000 rows" in lines[0]
    assert len(lines) == 1 + len(figures) + len(EXPECTED)
    with psycopg.connect(stack.database_url) as connection:
        left = connection.execute("SELECT FROM pg_database WHERE datname LIKE '%bench%'")
        assert left.fetchall() == []
