"""The URLs of the servers: checked before use, and shown without their passwords."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from redis import ConnectionPool, RedisError
from redis.connection import Connection, parse_url

from reactive_demo.errors import ConfigurationError

__all__ = [
    "Sentinels",
    "rabbitmq_port",
    "read_database_url",
    "read_kafka_servers",
    "read_rabbitmq_url",
    "read_redis_url",
    "redis_place",
    "redis_seeds",
    "sentinels",
    "without_password",
]

SECRET = "(?i:password|secret|ssl_options)"  # noqa: S105  (a pattern)
"""What the name of an option contains whose value must not be shown, as a regular expression."""

ESCAPE = (
    "correct it, with special characters in the password written as %40 for @, %2F for / and so on"
)


DATABASE_FORMS = (
    "PostgreSQL URI (postgresql://user:password@host:port/database) or conninfo (host=... "
    "dbname=...)"
)
REDIS_FORMS = (
    "Redis URL (redis://:password@host:port/0, rediss:// or unix:///path; "
    "redis://host:port,host:port for the nodes of a cluster; "
    "redis+sentinel://host:port,host:port/name/0 for sentinels)"
)

RABBITMQ_FORMS = "RabbitMQ URL (amqp://user:password@host:port/%2F, or amqps://)"

REMEDIES = {
    "schema": "remove it, or write options=-csearch_path%3DNAME",
    "ssl": "write sslmode=require in PostgreSQL's URL, or rediss:// in Redis's",
    "sslmode": "choose disable, allow, prefer, require, verify-ca or verify-full",
}
"""What to do about a parameter that other tools understand; all others are to be removed."""

SCHEMES = {
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+ssl": "rediss",
    "redis+tls": "rediss",
    "redis+socket": "unix",
    "redis-cluster": "redis",
    "redis+cluster": "redis",
    "rediss+cluster": "rediss",
    "sentinel": "redis+sentinel",
    "redis-sentinel": "redis+sentinel",
}
"""Redis's schemes as other tools write them."""

SENTINEL = "redis+sentinel"

SENTINEL_PORT = 26379


def read_database_url(text: str, name: str = "DATABASE_URL") -> str:
    """Return the URL in `text` as libpq reads it; other tools add quotes and drivers to it.

    Raises ConfigurationError; libpq's own message may quote a part of the password.
    """
    url = re.sub(r"^(?:jdbc:)?(postgres(?:ql)?)(?:\+\w+)?://", r"\1://", _trimmed(text))
    try:
        parts = conninfo_to_dict(url)
        _check_values(url)
    except psycopg.Error as error:
        raise _wrong(name, url, error, DATABASE_FORMS) from None
    # An unescaped @ or / in a password ends up in the host, the port or the path.
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    host, port = str(parts.get("host") or ""), str(parts.get("port") or "")
    beyond = path if host.startswith("/") else host + path  # a socket's folder may contain an @
    misread = _is_uri(url) and (not parts or "@" in beyond or re.search(r"[^\d,]", port))
    if misread:
        raise _wrong(name, url, None, DATABASE_FORMS)
    return url


def read_redis_url(text: str, name: str = "REDIS_URL") -> str:
    """Return the URL in `text` as redis-py reads it, which knows other schemes than other tools.

    Raises ConfigurationError.
    """
    scheme, _, rest = _trimmed(text).partition("://")
    # Celery writes Python's names of ssl's constants.
    rest = re.sub(r"(?<=ssl_cert_reqs=)CERT_\w+", lambda m: m[0][5:].lower(), rest)
    url = f"{SCHEMES.get(scheme, scheme)}://{rest}"
    try:
        if watched := sentinels(url):
            Connection(**watched.of_the_primary)  # connects to nothing yet
        else:
            for seed in redis_seeds(url):
                ConnectionPool.from_url(seed).make_connection()
        parts = urlsplit(url)
    except (TypeError, ValueError, RedisError) as error:
        raise _wrong(name, url, error, REDIS_FORMS) from None
    # An unescaped / in a password ends the host, and the rest ends up behind it.
    misread = parts.scheme != "unix" and "@" in parts.path + parts.query + parts.fragment
    if misread or (watched and not watched.name):
        raise _wrong(name, url, None, REDIS_FORMS)
    return url


def read_rabbitmq_url(text: str, name: str = "RABBITMQ_URL") -> str:
    """Return the URL in `text`. Raises ConfigurationError."""
    url = _trimmed(text)
    parts = urlsplit(url)
    try:
        fits = parts.scheme in ("amqp", "amqps") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number: an unescaped / in the password ends the host
        fits = False
    if not fits or "@" in parts.path:
        raise _wrong(name, url, None, RABBITMQ_FORMS)
    return url


def rabbitmq_port(parts: SplitResult) -> int:
    """Return the port that a URL of RabbitMQ's names, or means."""
    return parts.port or (5671 if parts.scheme == "amqps" else 5672)


def read_kafka_servers(text: str, name: str = "KAFKA_BOOTSTRAP_SERVERS") -> str:
    """Return the addresses in `text`, without spaces. Raises ConfigurationError."""
    servers = re.sub(r"\s", "", _trimmed(text))
    if not all(
        re.fullmatch(r"[^:/@,]+:\d+|\[[\da-fA-F:]+\]:\d+", one) for one in servers.split(",")
    ):
        otherwise = ", or unset it to use the embedded broker" if name.isupper() else ""
        raise ConfigurationError(
            f"{name} is not a list of Kafka's addresses (host:port,host:port): correct it"
            f"{otherwise}."
        )
    return servers


@dataclass(frozen=True, slots=True)
class Sentinels:
    """What a URL says of sentinels, and of the primary that they know."""

    addresses: list[tuple[str, int]]
    name: str
    """The primary's."""
    db: int
    options: dict[str, Any]
    """Of the connections to the primary; those that begin `sentinel_`, to the sentinels."""

    @property
    def of_the_primary(self) -> dict[str, Any]:
        """The options of the connections to the primary."""
        return {key: option for key, option in self.options.items() if key[:9] != "sentinel_"}


def sentinels(redis_url: str) -> Sentinels | None:
    """Return what a URL says of sentinels; None if it names none. Raises ValueError."""
    if not redis_url.startswith(f"{SENTINEL}://"):
        return None
    seeds = [urlsplit(seed) for seed in redis_seeds(redis_url)]
    name, _, db = seeds[0].path.strip("/").partition("/")
    primary = seeds[0]._replace(scheme="redis", path=f"/{db or 0}")
    options: dict[str, Any] = dict(parse_url(primary.geturl()))
    addresses = [(seed.hostname or "localhost", seed.port or SENTINEL_PORT) for seed in seeds]
    for unused in ("host", "port"):
        options.pop(unused, None)
    options.pop("db", None)
    return Sentinels(addresses, unquote(name), int(db or 0), options)


def redis_seeds(redis_url: str) -> list[str]:
    """Return a URL of each server that `redis_url` names, separated by commas."""
    match = re.match(
        r"(?P<scheme>[\w+]+://)(?P<login>[^/?]*@)?(?P<hosts>[^/?]*)(?P<rest>.*)", redis_url
    )
    if not match or match["scheme"] == "unix://":
        return [redis_url]
    before, rest = match["scheme"] + (match["login"] or ""), match["rest"]
    return [f"{before}{host}{rest}" for host in match["hosts"].split(",")]


def redis_place(redis_url: str) -> str:
    """Return the addresses that a URL names, in order, without user and password."""
    if watched := sentinels(redis_url):
        addresses = sorted(f"{host}:{port}" for host, port in watched.addresses)
        return f"{','.join(addresses)}/{watched.name}"
    places: list[dict[str, Any]] = [dict(parse_url(seed)) for seed in redis_seeds(redis_url)]
    return ",".join(
        sorted(
            str(place.get("path") or f"{place.get('host', 'localhost')}:{place.get('port', 6379)}")
            for place in places
        )
    )


def _trimmed(text: str) -> str:
    """Return `text` without the white space and quotes that files and shells leave around it."""
    text = text.strip()
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if quoted else text


def _check_values(url: str) -> None:
    """Raise psycopg.OperationalError for a value that libpq refuses, without any network."""
    nowhere = make_conninfo(url, host="/nonexistent", hostaddr="", port="1")
    message = psycopg.pq.PGconn.connect_start(nowhere.encode()).get_error_message()
    if re.match(r"invalid \w+ value", message):
        raise psycopg.OperationalError(message)


def _wrong(name: str, url: str, error: Exception | None, forms: str) -> ConfigurationError:
    """Return the error for `url`; it names the parameter to blame if no password can be in it."""
    blamed = re.search(
        r"(?:parameter: |option |argument |value for )[\"'](\w+)|^invalid (\w+) value", str(error)
    )
    if error and blamed:
        parameter = blamed[1] or blamed[2]
        before, found, after = url.partition(f"{parameter}=")
        if found and "@" not in after and not re.search(rf"{SECRET}\w*\s*=", before):
            remedy = REMEDIES.get(parameter, "correct or remove it")
            return ConfigurationError(
                f"{name} has the parameter {parameter}, whose name or value is not accepted: "
                f"{remedy}."
            )
    otherwise = ", or unset it to use the embedded server" if name.isupper() else ""
    return ConfigurationError(f"{name} is not a {forms}: {ESCAPE}{otherwise}.")


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
