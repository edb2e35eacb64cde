"""URLs that lead somewhere else, and are the same otherwise."""

import pytest
from psycopg.conninfo import conninfo_to_dict
from redis.connection import parse_url

from reactive_demo.tutorial.addresses import Address, postgres_url, redis_address, redis_url_at

UNIX = "/tmp/rd-x y/.s.PGSQL.5432"
TCP = ("127.0.0.1", 4567)


@pytest.mark.parametrize(
    ("url", "address", "found"),
    [
        (
            "postgresql://ada:s%40crit@db.example:5433/shop?sslmode=verify-full",
            TCP,
            {"host": "db.example", "hostaddr": "127.0.0.1", "port": "4567"},
        ),
        ("dbname=shop", TCP, {"host": "127.0.0.1", "hostaddr": "127.0.0.1", "port": "4567"}),
        (
            "host=one,two hostaddr=10.0.0.1,10.0.0.2 port=1,2 dbname=shop",
            TCP,
            {"host": "one", "hostaddr": "127.0.0.1", "port": "4567"},
        ),
        ("postgresql:///shop?host=/run/pg", UNIX, {"host": "/tmp/rd-x y", "port": "5432"}),
        ("host=db hostaddr=10.0.0.1 dbname=shop", UNIX, {"host": "/tmp/rd-x y", "port": "5432"}),
    ],
)
def test_a_postgres_url_keeps_all_but_its_address(
    url: str, address: Address, found: dict[str, str]
) -> None:
    before = conninfo_to_dict(url)
    for part in ("host", "hostaddr", "port"):
        before.pop(part, None)
    assert conninfo_to_dict(postgres_url(url, address)) == {**before, **found}


@pytest.mark.parametrize(
    ("url", "address", "to"),
    [
        ("redis://", ("localhost", 6379), TCP),
        ("rediss://ada:s%40crit@cache.example:6380/3", ("cache.example", 6380), TCP),
        ("redis://cache.example/2?socket_timeout=3", ("cache.example", 6379), TCP),
        ("unix:///run/a%20cache?db=4", "/run/a cache", TCP),
        ("unix:///run/a%20cache?db=4", "/run/a cache", UNIX),
        ("unix://ada:s%40crit@/run/cache?db=4", "/run/cache", UNIX),
    ],
)
def test_a_redis_url_keeps_all_but_its_address(url: str, address: Address, to: Address) -> None:
    assert redis_address(url) == address
    there = redis_url_at(url, to)
    assert redis_address(there) == to
    before, after = parse_url(url), parse_url(there)
    for parts in (before, after):
        for part in ("host", "port", "path"):
            parts.pop(part, None)
        kind = parts.pop("connection_class", None)
        assert (kind is not None and "SSL" in kind.__name__) == url.startswith("rediss")
    assert after == before
