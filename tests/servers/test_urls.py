"""URLs are shown without their passwords, and refused before use if they cannot be read."""

import traceback

import pytest

from reactive_demo import install, uninstall
from reactive_demo.errors import ConfigurationError
from reactive_demo.settings import Settings
from reactive_demo.urls import (
    read_database_url,
    read_kafka_servers,
    read_rabbitmq_url,
    read_redis_url,
    redis_place,
    redis_seeds,
    sentinels,
    without_password,
)

SHOWN = {
    "postgresql://u:secret@h:5432/db": "postgresql://u:***@h:5432/db",
    "postgresql://u:s%40cr%2Fet@h/db": "postgresql://u:***@h/db",
    "postgresql://u:sec@re/t:x@h/db": "postgresql://u:***@h/db",
    "postgresql://u:sec\nret@h/db": "postgresql://u:***@h/db",
    "postgresql://us/er:secret@h/db": "postgresql://us/er:***@h/db",
    "postgresql://u@h/db": "postgresql://u@h/db",
    "postgresql://h:1,i:2/db?target_session_attrs=any": (
        "postgresql://h:1,i:2/db?target_session_attrs=any"
    ),
    "postgresql://u:secret@h:1,i:2/db": "postgresql://u:***@h:1,i:2/db",
    "postgresql://h/db?user=u&password=secret": "postgresql://h/db?user=u&password=***",
    "postgresql://h/db?PASSWORD=sec%26ret&sslmode=require": (
        "postgresql://h/db?PASSWORD=***&sslmode=require"
    ),
    "postgresql://h/db?sslpassword=secret": "postgresql://h/db?sslpassword=***",
    "postgresql:///db?host=/tmp/x": "postgresql:///db?host=/tmp/x",
    "redis://:secret@h:6379/0": "redis://:***@h:6379/0",
    "redis://u:s:e@cret@h/0": "redis://u:***@h/0",
    "rediss://h/0?password=secret": "rediss://h/0?password=***",
    "unix:///tmp/x.sock?db=0": "unix:///tmp/x.sock?db=0",
    "unix://:secret@/tmp/x.sock": "unix://:***@/tmp/x.sock",
    "dbname=db host=h": "dbname=db host=h",
    "password=secret host=h": "password=*** host=h",
    r"password = 'it\'s secret' host=h": "password=*** host=h",
    "password = 'a://secret' host=h": "password=*** host=h",
    "host=h sslpassword=secret": "host=h sslpassword=***",
    "host=h password='secret": "***",
    "secret": "***",
}

WRONG_DATABASE_URLS = [
    "secret",
    "mysql://u:secret@h/db",
    "postgresql://",
    "postgresql://u:se/cret@h/db",
    "postgresql://u:se@cret@h/db",
    "postgresql://u:s@e/cret@h/db",
    "postgresql://u:12/secret@h/db",
    "postgresql://u:s:e@cret:x@h/db",
    "postgresql://u:secret%zz@h/db",
    "postgresql://u:secret@h:port/db",
    "postgresql://u:se/cret?nosuch=1@h/db",
    "postgresql://h/db?password=a&secret=1",
    "host=h password=a secret=1",
    "psql postgresql://u:secret@h/db",
    "host=h password='secret",
]

WRONG_REDIS_URLS = [
    "secret",
    "http://:secret@h/0",
    "redis://:se/cret@h/0",
    "redis://:12/secret@h/0",
    "redis://:12?secret@h/0",
    "redis://:12#secret@h/0",
    "redis://:se[cret@h/0",
    "redis://:secret@h:port/0",
    "redis://:secret@h:99999/0",
    "redis://h/0?password=a&secret=1",
    "redis://:secret@h/0?protocol=9",
    "h:6379",
]

RIGHT = [
    ("DATABASE_URL", "postgresql://u:s%40cr%2Fet@h:5432/db"),
    ("DATABASE_URL", "postgresql://u:s:e?c#ret@h/db"),
    ("DATABASE_URL", "postgresql://h:1,i:2/db?target_session_attrs=any"),
    ("DATABASE_URL", "postgresql://[::1]:5432/db"),
    ("DATABASE_URL", "postgresql:///db?host=/tmp/x@y"),
    ("DATABASE_URL", "host=h password='a://b@c/d'"),
    ("REDIS_URL", "redis://"),
    ("REDIS_URL", "redis://u:s@c%2Fret@h:6379/0?protocol=3"),
    ("REDIS_URL", "rediss://h?ssl_cert_reqs=none"),
    ("REDIS_URL", "unix:///tmp/x@y.sock?db=1"),
]


@pytest.mark.parametrize(("url", "shown"), SHOWN.items())
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        *(("DATABASE_URL", url) for url in WRONG_DATABASE_URLS),
        *(("REDIS_URL", url) for url in WRONG_REDIS_URLS),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_not_repeated(variable: str, url: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Settings.from_environment({variable: url})
    message = str(error.value)
    assert message.startswith(f"{variable} is not a")
    assert "\n" not in message
    assert "cret" not in message


@pytest.mark.parametrize(("variable", "url"), RIGHT)
def test_a_url_with_unusual_parts_is_taken(variable: str, url: str) -> None:
    settings = Settings.from_environment({variable: url})
    assert url in (settings.database_url, settings.redis_url)


@pytest.mark.parametrize(
    ("variable", "url", "parameter"),
    [
        *(
            ("DATABASE_URL", f"postgresql://u:secret@h/db?sslmode=prefer&{query}", parameter)
            for query, parameter in {
                "schema=public": "schema",
                "pgbouncer=true": "pgbouncer",
                "connection_limit=5": "connection_limit",
                "ssl=require": "ssl",
                "sslmode=no-verify": "sslmode",
                "target_session_attrs=leader": "target_session_attrs",
                "require_auth=secret": "require_auth",
            }.items()
        ),
        ("DATABASE_URL", "host=h schema=public password=secret", "schema"),
        ("DATABASE_URL", "jdbc:postgresql://h/db?currentSchema=x", "currentSchema"),
        *(
            ("REDIS_URL", f"{scheme}://:secret@h/0?{query}", query.partition("=")[0])
            for scheme, query in [
                ("redis", "nosuch=option"),
                ("redis", "socket_timeout=soon"),
                ("redis", "ssl=true"),
                ("redis", "ssl_cert_reqs=none"),
                ("valkey", "db=first"),
                ("rediss", "ssl_version=3"),
            ]
        ),
    ],
)
def test_a_parameter_of_another_tool_is_named(variable: str, url: str, parameter: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Settings.from_environment({variable: url})
    assert str(error.value).startswith(f"{variable} has the parameter {parameter}, ")
    assert "cret" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["redis+sentinel://:secret@h", "redis+sentinel://h/primary/zero", "redis://a:1,b:x/0"]
)
def test_half_a_url_of_several_servers_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"redis\+sentinel://host:port,host:port/name/0"):
        Settings.from_environment({"REDIS_URL": url})


def test_a_url_may_name_sentinels_or_nodes() -> None:
    watched = sentinels("redis+sentinel://me:p%40@a,b:3/my/2?sentinel_password=x&socket_timeout=3")
    assert watched.addresses == [("a", 26379), ("b", 3)]
    assert (watched.name, watched.db) == ("my", 2)
    assert watched.of_the_primary == {"username": "me", "password": "p@", "socket_timeout": 3.0}
    assert redis_seeds("rediss://:p@a:1,b:2/0?x=y") == [
        "rediss://:p@a:1/0?x=y",
        "rediss://:p@b:2/0?x=y",
    ]
    assert redis_place("redis://:p@b:1,a:2/0") == redis_place("redis://a:2,b:1") == "a:2,b:1"
    assert sentinels("redis://h") is None


@pytest.mark.parametrize(
    ("written", "meant"),
    {
        "postgres://h/db": "postgres://h/db",
        "postgresql+psycopg://h/db": "postgresql://h/db",
        "postgres+asyncpg://h/db": "postgres://h/db",
        "jdbc:postgresql://h:5/db?user=u": "postgresql://h:5/db?user=u",
        "postgresql://h/db\n": "postgresql://h/db",
        '"postgresql://h/db"\r\n': "postgresql://h/db",
        " 'host=h' ": "host=h",
        "host=h password='a'": "host=h password='a'",
        "valkey://h": "redis://h",
        "redis-cluster://a:1,b:2": "redis://a:1,b:2",
        "redis-sentinel://a,b/my": "redis+sentinel://a,b/my",
        "valkeys://h/1": "rediss://h/1",
        "redis+socket:///s?db=1": "unix:///s?db=1",
        "'redis://h/0'\n": "redis://h/0",
        "rediss://h?ssl_cert_reqs=CERT_NONE": "rediss://h?ssl_cert_reqs=none",
    }.items(),
)
def test_a_url_as_other_tools_write_it_is_understood(written: str, meant: str) -> None:
    read = read_database_url if meant[0] in "ph" else read_redis_url
    assert read(written) == meant


@pytest.mark.parametrize("url", WRONG_DATABASE_URLS)
def test_in_python_a_url_is_refused_without_being_repeated(url: str) -> None:
    for use in (install, uninstall):
        with pytest.raises(ConfigurationError, match=r"^The database's URL is not a") as error:
            use(url)
        assert "cret" not in "".join(traceback.format_exception(error.value))


def test_an_empty_variable_is_an_unset_one() -> None:
    settings = Settings.from_environment({"DATABASE_URL": "", "REDIS_URL": ""})
    assert (settings.database_url, settings.redis_url) == (None, None)


def test_the_brokers_addresses_are_read_as_other_tools_write_them() -> None:
    assert read_rabbitmq_url(' "amqp://u:p%2F@h:5672/%2F"\n') == "amqp://u:p%2F@h:5672/%2F"
    assert read_kafka_servers("h:9092, i:9093\n") == "h:9092,i:9093"
    assert read_kafka_servers("[::1]:9092") == "[::1]:9092"


@pytest.mark.parametrize("wrong", ["http://h/", "amqp://", "amqp://u:p/w@h/", "h:5672"])
def test_a_wrong_url_of_rabbitmq_is_refused_without_its_password(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"RABBITMQ_URL is not a .*amqp://") as raised:
        read_rabbitmq_url(wrong)
    assert "p/w" not in str(raised.value)


def test_a_key_of_the_clients_own_is_shown_without_its_password() -> None:
    url = "amqps://ada:s3cret@h/%2F?ssl_options={'keyfile':'k','password':'s3cret'}&heartbeat=5"
    assert without_password(url) == "amqps://ada:***@h/%2F?ssl_options=***&heartbeat=5"


@pytest.mark.parametrize("wrong", ["h", "kafka://h:9092", "h:9092,", "h:port", ""])
def test_a_wrong_address_of_kafka_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="KAFKA_BOOTSTRAP_SERVERS is not a list"):
        read_kafka_servers(wrong)
