"""Sentinels stand in for each other: one that is gone is asked once, and then the next."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import redis

from reactive_demo.redis_cache.client import open_async_redis, open_redis
from tools.loops import run_coroutine


@pytest.fixture
def gone() -> Iterator[tuple[str, list[object]]]:
    """The address of a sentinel that hangs up, and who has called it."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                client, caller = server.accept()
                client.close()
                if over.is_set():
                    return
                callers.append(caller)

        over = threading.Event()
        thread = threading.Thread(target=hang_up)
        thread.start()
        host, port = server.getsockname()
        yield f"{host}:{port}", callers
        over.set()
        socket.create_connection((host, port)).close()
        thread.join(10)


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
