"""The settings in the environment: the servers' URLs, and `REACTIVE_DEMO_HOME`.

`DATABASE_URL`, `REDIS_URL`, `RABBITMQ_URL` and `KAFKA_BOOTSTRAP_SERVERS` each replace an embedded
server. Nothing else in the package reads these variables.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reactive_demo.errors import ConfigurationError
from reactive_demo.hosts import with_primary_asked_for
from reactive_demo.urls import (
    read_database_url,
    read_kafka_servers,
    read_rabbitmq_url,
    read_redis_url,
)

__all__ = ["CHECKOUT", "Settings"]

CHECKOUT = Path(__file__).resolve().parent.parent
"""The folder that contains the package: a checkout, or a site-packages."""


@dataclass(frozen=True)
class Settings:
    """The settings, checked."""

    database_url: str | None
    """A libpq URI or conninfo; None for the embedded PostgreSQL."""
    redis_url: str | None
    """`redis://`, `rediss://` or `unix://`; None for the embedded Valkey."""
    home: Path
    """The folder of the embedded servers, absolute."""
    rabbitmq_url: str | None = None
    """`amqp://` or `amqps://`; None for a RabbitMQ that we start."""
    kafka_servers: str | None = None
    """`host:port`, several with commas; None for the embedded Kafka broker."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read and check the variables; an empty one counts as unset.

        Raises ConfigurationError.
        """
        database_url = environ.get("DATABASE_URL")
        redis_url = environ.get("REDIS_URL")
        rabbitmq_url = environ.get("RABBITMQ_URL")
        kafka_servers = environ.get("KAFKA_BOOTSTRAP_SERVERS")
        return cls(
            with_primary_asked_for(read_database_url(database_url)) if database_url else None,
            read_redis_url(redis_url) if redis_url else None,
            _home(environ),
            read_rabbitmq_url(rabbitmq_url) if rabbitmq_url else None,
            read_kafka_servers(kafka_servers) if kafka_servers else None,
        )


def _home(environ: Mapping[str, str]) -> Path:
    """Return the folder of the embedded servers: each checkout and user has one."""
    if chosen := environ.get("REACTIVE_DEMO_HOME"):
        home = Path(os.path.expanduser(chosen))  # noqa: PTH111  (leaves an unknown ~user alone)
        if not home.is_absolute():
            raise ConfigurationError(
                f"REACTIVE_DEMO_HOME is the relative path {chosen!r}, which notebooks and "
                "terminals resolve differently: set it to an absolute path."
            )
        return home
    name = re.sub(r"[^\w-]+", "-", CHECKOUT.name)[:32]
    digest = hashlib.sha256(os.fsencode(CHECKOUT)).hexdigest()[:8]
    return _data_home(environ) / "reactive_demo" / f"{name}-{digest}"


def _data_home(environ: Mapping[str, str]) -> Path:
    """Return where programs of this user keep data; for root, where system services do.

    Root's PostgreSQL may have to run as another user, who cannot enter root's HOME.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib")
    chosen = Path(environ.get("XDG_DATA_HOME", ""))
    if chosen.is_absolute():  # the specification says to ignore a relative path
        return chosen
    try:
        return Path.home() / ".local" / "share"
    except RuntimeError:  # an account without a home, as in some containers
        raise ConfigurationError(
            "This account has no home folder: set REACTIVE_DEMO_HOME to a folder for the data."
        ) from None
