"""URLs are shown without their passwords, and refused before use if they cannot be read."""

import pytest

from reactive_demo import ReactiveDemoError
from reactive_demo.settings import Settings
from reactive_demo.urls import without_password

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
    "postgresql://u:secret@h/db?nosuch=option",
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
    "redis://:secret@h/0?nosuch=option",
    "redis://:secret@h/0?socket_timeout=soon",
]

RIGHT = [
    ("DATABASE_URL", "postgresql://u:s%40cr%2Fet@h:5432/db"),
    ("DATABASE_URL", "postgresql://u:s:e?c#ret@h/db"),
    ("DATABASE_URL", "postgresql://h:1,i:2/db"),
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
    with pytest.raises(ReactiveDemoError) as error:
        Settings.from_environment({variable: url})
    message = str(error.value)
    assert message.startswith(f"{variable} is not a")
    assert "\n" not in message
    assert "cret" not in message


@pytest.mark.parametrize(("variable", "url"), RIGHT)
def test_a_url_with_unusual_parts_is_taken(variable: str, url: str) -> None:
    settings = Settings.from_environment({variable: url})
    assert url in (settings.database_url, settings.redis_url)


def test_an_empty_variable_is_an_unset_one() -> None:
    settings = Settings.from_environment({"DATABASE_URL": "", "REDIS_URL": ""})
    assert (settings.database_url, settings.redis_url) == (None, None)
