"""Where a URL leads, and the same URL with another address."""

from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from redis.connection import parse_url

from reactive_demo.postgres import open_postgres, unavailable

__all__ = [
    "Address",
    "postgres_address",
    "postgres_url",
    "redis_address",
    "redis_url_at",
]

Address = str | tuple[str, int]
"""The path of a Unix socket, or host and port."""


def postgres_address(database_url: str) -> Address:
    """Return where that PostgreSQL listens; of several hosts, the one that takes writes now.

    Raises UnavailableError if none answers within 5 s.
    """
    try:
        with open_postgres(database_url, "lab", pinned=False) as connection:
            about = connection.info
            host, address, port = about.host, about.hostaddr, about.port
    except psycopg.OperationalError as error:
        raise unavailable(database_url, error) from None
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (address or host, port)


def postgres_url(database_url: str, address: Address) -> str:
    """Return the URL of the same database at another address, keeping host names for TLS."""
    parts = dict(conninfo_to_dict(database_url))
    if isinstance(address, str):
        folder, _, port = address.rpartition("/.s.PGSQL.")
        parts |= {"host": folder, "port": port, "hostaddr": None}
    else:
        name = str(parts.get("host") or "").partition(",")[0]
        host = address[0] if not name or name.startswith("/") else name
        parts |= {"host": host, "hostaddr": address[0], "port": address[1]}
    return make_conninfo("", **parts)


def redis_address(redis_url: str) -> Address:
    """Return where that Redis listens."""
    place: dict[str, Any] = dict(parse_url(redis_url))
    if path := place.get("path"):
        return str(path)
    return place.get("host", "localhost"), place.get("port", 6379)


def redis_url_at(redis_url: str, address: Address) -> str:
    """Return the URL of the same Redis at another address; on TCP, its scheme stays."""
    parts = urlsplit(redis_url)
    user = "".join(parts.netloc.rpartition("@")[:2])
    query = parts.query and f"?{parts.query}"
    if isinstance(address, str):
        return f"unix://{user}{quote(address)}{query}"
    scheme, path = ("redis", "") if parts.scheme == "unix" else (parts.scheme, parts.path)
    return f"{scheme}://{user}{address[0]}:{address[1]}{path}{query}"
