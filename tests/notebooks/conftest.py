"""Kernels, and servers on which nobody has worked."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
import redis

from reactive_demo import Stack
from tools.kernels import Kernel


@pytest.fixture
def start_kernel() -> Iterator[Callable[[], Kernel]]:
    """Start any number of kernels; they live until the test ends."""
    with ExitStack() as kernels:
        yield lambda: kernels.enter_context(Kernel().running())


@pytest.fixture
def blank(stack: Stack) -> None:
    """Empty the servers that notebooks connect to."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS reactive CASCADE")
        connection.execute("DROP TABLE IF EXISTS public.profile CASCADE")
    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushall()
