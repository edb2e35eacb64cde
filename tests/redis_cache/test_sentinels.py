"""Sentinels stand in for each other: one that is gone is asked once, and then the next."""

from collections.abc import Callable, Iterator

import pytest
import redis

from reactive_demo.redis_cache.client import open_async_redis, open_redis
from tools.loops import run_coroutine
from tools.servers import hanging_up


@pytest.fixture
def gone() -> Iterator[tuple[str, list[object]]]:
    """The address of a sentinel that hangs up, and who has called it."""
    with hanging_up() as server:
        yield server


def ping(url: str) -> None:
    open_redis(url).ping()


def ping_in_a_loop(url: str) -> None:
    run_coroutine(open_async_redis(url).ping())


@pytest.mark.parametrize("use", [ping, ping_in_a_loop])
def test_a_sentinel_that_is_gone_is_asked_once(
    use: Callable[[str], None], gone: tuple[str, list[object]]
) -> None:
    """Not to know of a primary is a lost connection too, after which all are asked once again."""
    address, callers = gone
    with pytest.raises(redis.ConnectionError, match="No master found"):
        use(f"redis+sentinel://{address}/primary/0")
    assert len(callers) == 2
