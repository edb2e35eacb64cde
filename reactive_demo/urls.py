"""The URLs of the two servers: checked before use, and shown without their passwords."""

import re
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from redis import ConnectionPool

from reactive_demo.errors import ConfigurationError

__all__ = ["check_database_url", "check_redis_url", "without_password"]

SECRET = "(?i:password|secret)"  # noqa: S105  (a pattern)
"""What the name of an option contains whose value must not be shown, as a regular expression."""

ESCAPE = (
    "correct it, with special characters in the password written as %40 for @, %2F for / and so "
    "on, or unset it to use the embedded server."
)


def check_database_url(url: str) -> None:
    """Raise ConfigurationError for what libpq cannot read; libpq's own message quotes passwords."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        parts = {}
    # An unescaped @ or / in a password ends up in the host, the port or the path.
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    host, port = str(parts.get("host") or ""), str(parts.get("port") or "")
    beyond = path if host.startswith("/") else host + path  # a socket's folder may contain an @
    misread = _is_uri(url) and ("@" in beyond or re.search(r"[^\d,]", port))
    if not parts or misread:
        raise ConfigurationError(
            "DATABASE_URL is not a PostgreSQL URI (postgresql://user:password@host:port/database) "
            f"or conninfo (host=... dbname=...): {ESCAPE}"
        )


def check_redis_url(url: str) -> None:
    """Raise ConfigurationError for what redis-py cannot read: the scheme, the port or an option."""
    try:
        ConnectionPool.from_url(url).make_connection()  # connects to nothing yet
        parts = urlsplit(url)
        # An unescaped / in a password ends the host, and the rest ends up behind it.
        misread = parts.scheme != "unix" and "@" in parts.path + parts.query + parts.fragment
    except (TypeError, ValueError):
        misread = True
    if misread:
        raise ConfigurationError(
            "REDIS_URL is not a Redis URL (redis://:password@host:port/0, rediss:// or "
            f"unix:///path): {ESCAPE}"
        )


def without_password(url: str) -> str:
    """Return `url` with everything secret replaced by `***`, to be shown."""
    if _is_uri(url):
        shown = re.sub(r"(?<=://)(.*?):.*@", r"\1:***@", url, count=1, flags=re.DOTALL)
        return re.sub(rf"({SECRET}\w*=)[^&]*", r"\1***", shown)
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "***"
    return make_conninfo("", **{**parts, **{key: "***" for key in parts if re.search(SECRET, key)}})


def _is_uri(url: str) -> bool:
    return re.match(r"\w+://", url) is not None
