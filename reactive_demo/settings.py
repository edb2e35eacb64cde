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
from redis.connection import parse_url

from reactive_demo.errors import ReactiveDemoError

__all__ = ["CHECKOUT", "Settings", "without_password"]

CHECKOUT = Path(__file__).resolve().parent.parent
"""The folder that holds the package: a checkout, or a site-packages. It has one stack."""


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
    """`url` as it may be shown: the password replaced by `***`."""
    if "://" in url:
        shown = re.sub(r"(?<=://)([^:/?#]*):.*@", r"\1:***@", url)
        return re.sub(r"(password=)[^&]*", r"\1***", shown, flags=re.IGNORECASE)
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "***"
    return make_conninfo("", **{**parts, **({"password": "***"} if "password" in parts else {})})


def _home(environ: Mapping[str, str]) -> Path:
    if chosen := environ.get("REACTIVE_DEMO_HOME"):
        home = Path(chosen).expanduser()
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
    return Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def _check_database_url(url: str) -> None:
    """Raise for what libpq cannot read; its own words are kept back: they quote the password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        parts = {}
    # An unescaped @ or / in a password ends up in the host or the port.
    misread = re.search(r"[@\s]", f"{parts.get('host', '')}{parts.get('port', '')}")
    if not parts or misread:
        raise ReactiveDemoError(
            "DATABASE_URL is not a PostgreSQL URI (postgresql://user:password@host:port/database) "
            "or conninfo (host=... dbname=...): correct it, with special characters in the "
            "password written as %40 for @, %2F for / and so on, or unset it to use the "
            "embedded server."
        )


def _check_redis_url(url: str) -> None:
    try:
        parse_url(url)
        urlsplit(url).port  # noqa: B018  (raises for a port that is no number)
    except ValueError:
        raise ReactiveDemoError(
            "REDIS_URL is not a Redis URL (redis://:password@host:port/0, rediss:// or "
            "unix:///path): correct it, or unset it to use the embedded server."
        ) from None
