"""The grid shows the rows that the cache holds, and what becomes of them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from reactive_demo import Cache, RowGrid
from reactive_demo.changes import Change
from tools.redis_server import RedisServer
from tools.waiting import until

CELL = re.compile(r"<td[^>]*>(.*?)</td>")


@contextmanager
def showing(cache: Cache, **options: object) -> Iterator[RowGrid]:
    grid = RowGrid(cache, **options)  # type: ignore[arg-type]
    try:
        yield grid
    finally:
        grid.close()
        grid._thread.join(5)
        assert not grid._thread.is_alive()


def cells(grid: RowGrid) -> list[str]:
    """The text of its cells, row by row."""
    return CELL.findall(grid.value)


def word(grid: RowGrid) -> str:
    """What it says of its one row."""
    (found,) = re.findall(r'class="rd-word">(.*?)</th>', grid.value)
    return str(found)


def put(cache: Cache, key: str, **row: object) -> None:
    cache.put([Change(key, {"id": key, **row} if row else None)])


@pytest.fixture
def orders(valkey_url: str) -> Iterator[Cache]:
    cache = Cache(valkey_url, "orders")
    yield cache
    cache.close()


def test_what_is_there_is_shown_at_once_in_the_order_of_the_keys(orders: Cache) -> None:
    for key in ("10", "9", "b", "a"):
        put(orders, key, note=f"n{key}")
    with showing(orders) as grid:
        assert cells(grid) == ["9", "n9", "10", "n10", "a", "na", "b", "nb"]
        assert "orders: 4 rows in the cache" in grid.value
        assert "rd-fresh" not in grid.value.partition("</style>")[2]
        bundle = grid._repr_mimebundle_()
        assert bundle["text/plain"] == "RowGrid(orders)"
        assert CELL.findall(bundle["text/html"]) == cells(grid)


def test_rows_appear_change_and_go(orders: Cache) -> None:
    with showing(orders, poll_interval=600) as grid:
        until("it follows", lambda: orders._redis.pubsub_numpat() > 0)
        put(orders, "1", note="new")
        until("it appears, and shines", lambda: cells(grid) == ["1", "new"])
        assert grid.value.count('class="rd-fresh"') == 2
        assert word(grid) == "new"
        until("it no longer shines", lambda: 'class="rd-fresh"' not in grid.value)
        put(orders, "1", note="changed")
        until("it changes", lambda: cells(grid) == ["1", "changed"])
        assert grid.value.count('class="rd-fresh"') == 1
        assert word(grid) == "changed"
        put(orders, "1")
        until("it goes", lambda: 'class="rd-gone"' in grid.value)
        assert word(grid) == "deleted"
        assert grid.rows == {}
        assert cells(grid) == ["1", "changed"]
        until("it is gone", lambda: cells(grid) == [])
        put(orders, "1", note="again")
        until("it comes back", lambda: cells(grid) == ["1", "again"])


def test_a_message_that_was_lost_is_made_up_for(orders: Cache, client: redis.Redis) -> None:
    put(orders, "1", note="old")
    with showing(orders, poll_interval=0.1) as grid:
        client.hset("orders:1", "row", '{"id":"1","note":"unannounced"}')
        client.hset("orders:2", "row", '{"id":"2","note":"silent"}')
        until("both are shown", lambda: cells(grid) == ["1", "unannounced", "2", "silent"])
        client.delete("orders:2")
        until("one is gone", lambda: cells(grid) == ["1", "unannounced"])


def test_of_many_rows_those_that_changed_last_are_shown(orders: Cache) -> None:
    with showing(orders, columns=["note"], limit=3, poll_interval=600) as grid:
        until("it follows", lambda: orders._redis.pubsub_numpat() > 0)
        for key in map(str, range(5)):
            put(orders, key, note=f"n{key}")
        until("the last are shown", lambda: cells(grid) == ["n2", "n3", "n4"])
        assert "the 3 that changed last" in grid.value


def test_a_value_is_no_html(orders: Cache) -> None:
    put(orders, "<b>", **{"<i>": "&<script>"})
    with showing(orders) as grid:
        assert "<b>" not in grid.value
        assert "&lt;i&gt;" in grid.value
        assert cells(grid) == ["&lt;b&gt;", "&amp;&lt;script&gt;"]


def test_a_value_that_is_no_text_is_shown_as_json(orders: Cache) -> None:
    put(orders, "1", items=[{"line": 1}], paid=True, note=None)
    with showing(orders) as grid:
        assert cells(grid) == ["1", "[{&quot;line&quot;: 1}]", "true", "null"]


def test_it_says_that_redis_is_away_and_goes_on_when_it_is_back(own_redis: RedisServer) -> None:
    cache = Cache(own_redis.url, "orders")
    put(cache, "1", note="kept")
    with showing(cache) as grid:
        own_redis.stop()
        until("it says so", lambda: "Redis does not answer" in grid.value)
        assert cells(grid) == ["1", "kept"]
        own_redis.start()
        put(cache, "2", note="back")
        until("it goes on", lambda: cells(grid)[-2:] == ["2", "back"])
    cache.close()
    gone = Cache("redis://127.0.0.1:1", "orders")
    with showing(gone) as grid:
        assert "Redis does not answer" in grid.value


def test_an_account_that_may_not_subscribe_polls(own_redis: RedisServer) -> None:
    admin = redis.Redis.from_url(own_redis.url)
    admin.execute_command("ACL SETUSER viewer on >secret ~orders:* +@read +info +ping +hello")
    cache = Cache(own_redis.url.replace("://", "://viewer:secret@"), "orders")
    with showing(cache, poll_interval=0.1) as grid:
        admin.hset("orders:1", "row", '{"id":"1"}')
        until("it is shown", lambda: cells(grid) == ["1"])
    cache.close()
    admin.close()
