"""What docs/values.md says of a cached row is how a row is cached, by both durable feeds."""

import re
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from reactive_demo import Cache, ReadThrough
from reactive_demo.feeds import ChangeTableFeed, LogFeed
from tools.agreement import carry
from tools.durable import BOTH, Durable

PAGE = Path(__file__).resolve().parents[2] / "docs" / "values.md"
ROWS = re.findall(
    r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| `(.+?)` \|$",
    PAGE.read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.fixture(params=BOTH)
def durable(request: pytest.FixtureRequest) -> Durable:
    return request.param


def test_each_value_is_cached_as_the_page_says(
    database: str, connection: psycopg.Connection, durable: Durable, valkey_url: str
) -> None:
    assert len(ROWS) > 15
    columns = ", ".join(f"c{n} {kind}" for n, (kind, *_) in enumerate(ROWS))
    values = ", ".join(value for _, value, *_ in ROWS)
    connection.execute(sql.SQL("CREATE TABLE shown (id int PRIMARY KEY, {})").format(raw(columns)))
    durable.install(database, "shown")
    connection.execute("SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'")
    connection.execute("SET IntervalStyle = 'iso_8601'; SET bytea_output = 'escape'")
    cache = Cache(valkey_url, "shown")
    with ReadThrough(database, cache) as rows:
        feed = durable.follow(database, "shown")
        assert isinstance(feed, ChangeTableFeed | LogFeed)
        connection.execute(sql.SQL("INSERT INTO shown VALUES (1, {})").format(raw(values)))
        carry(feed, cache)
        in_the_cache = "".join(f',"c{n}":{shown}' for n, (_, _, shown, _) in enumerate(ROWS))
        assert cache._redis.hget("shown:1", "row") == f'{{"id":1{in_the_cache}}}'
        row = rows.get(1)
    assert row == cache.get(1)
    assert row is not None
    assert [repr(row[f"c{n}"]) for n in range(len(ROWS))] == [last for *_, last in ROWS]
    cache.close()


def raw(text: str) -> sql.SQL:
    return sql.SQL(text)
