"""What the environment asks for: `DATABASE_URL`, `REDIS_URL` and `REACTIVE_DEMO_HOME`.

Each URL, on its own, replaces an embedded server. Nothing else in the package reads the
environment, and nothing prints a URL without `without_password`.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from redis import ConnectionPool

from reactive_demo.errors import ReactiveDemoError

__all__ = ["CHECKOUT", "Settings", "without_password"]

CHECKOUT = Path(__file__).resolve().parent.parent
"""The folder that holds the package: a checkout, or a site-packages. It has one stack."""

HIDDEN = "(?i:password|secret)"
"""What the name of an option contains whose value is not shown, as a regular expression."""


@dataclass(frozen=True)
class Settings:
    """The environment's wishes, checked."""

    database_url: str | None
    """A libpq URI or conninfo; None for the embedded PostgreSQL."""
    redis_url: str | None
    """`redis://`, `rediss://` or `unix://`; None for the embedded Valkey."""
    home: Path
    """The folder of the embedded servers, absolute."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read and check the three variables; an empty one counts as unset."""
        database_url = environ.get("DATABASE_URL") or None
        redis_url = environ.get("REDIS_URL") or None
        if database_url:
            _check_database_url(database_url)
        if redis_url:
            _check_redis_url(redis_url)
        return cls(database_url, redis_url, _home(environ))


def without_password(url: str) -> str:
    """`url` as it may be shown: what is secret in it replaced by `***`."""
    if _is_uri(url):
        shown = re.sub(r"(?<=://)(.*?):.*@", r"\1:***@", url, count=1, flags=re.DOTALL)
        return re.sub(rf"({HIDDEN}\w*=)[^&]*", r"\1***", shown)
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "***"
    return make_conninfo("", **{**parts, **{key: "***" for key in parts if re.search(HIDDEN, key)}})


def _home(environ: Mapping[str, str]) -> Path:
    if chosen := environ.get("REACTIVE_DEMO_HOME"):
        home = Path(os.path.expanduser(chosen))  # noqa: PTH111  (leaves an unknown ~user alone)
        if not home.is_absolute():
            raise ReactiveDemoError(
                f"REACTIVE_DEMO_HOME must be an absolute path, and {chosen!r} is not: "
                "notebooks and terminals would each look in another place."
            )
        return home
    name = re.sub(r"[^\w-]+", "-", CHECKOUT.name)[:32]
    digest = hashlib.sha256(os.fsencode(CHECKOUT)).hexdigest()[:8]
    return _data_home(environ) / "reactive_demo" / f"{name}-{digest}"


def _data_home(environ: Mapping[str, str]) -> Path:
    """Where this user's programs keep data; for root the place of system services.

    Root's PostgreSQL may have to run as another user, who cannot enter root's HOME.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib")
    chosen = Path(environ.get("XDG_DATA_HOME", ""))
    if chosen.is_absolute():  # its specification says to ignore any other
        return chosen
    try:
        return Path.home() / ".local" / "share"
    except RuntimeError:  # an account without a home, as in some containers
        raise ReactiveDemoError(
            "This account has no home folder: set REACTIVE_DEMO_HOME to a folder for the data."
        ) from None


def _is_uri(url: str) -> bool:
    return re.match(r"\w+://", url) is not None


def _check_database_url(url: str) -> None:
    """Raise for what libpq cannot read; its own words are kept back: they quote the password."""
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
        raise ReactiveDemoError(
            "DATABASE_URL is not a PostgreSQL URI (postgresql://user:password@host:port/database) "
            "or conninfo (host=... dbname=...): correct it, with special characters in the "
            "password written as %40 for @, %2F for / and so on, or unset it to use the "
            "embedded server."
        )


def _check_redis_url(url: str) -> None:
    """Raise for what redis-py cannot read, be it the scheme, the port or an option."""
    try:
        ConnectionPool.from_url(url).make_connection()  # connects to nothing yet
        parts = urlsplit(url)
        # An unescaped / in a password ends the host, and the rest ends up behind it.
        misread = parts.scheme != "unix" and "@" in parts.path + parts.query + parts.fragment
    except (TypeError, ValueError):
        misread = True
    if misread:
        raise ReactiveDemoError(
            "REDIS_URL is not a Redis URL (redis://:password@host:port/0, rediss:// or "
            "unix:///path): correct it, with special characters in the password written as %40 "
            "for @, %2F for / and so on, or unset it to use the embedded server."
        )
