"""`reactive-demo audit`: what it prints, and its exit status, for monitoring."""

import json

import psycopg
import pytest
import redis

from reactive_demo import Cache, Stack, install
from reactive_demo.cli import main
from reactive_demo.tools.services import resync

SOON = ("--again", "0.1", "0.2")
"""Looks again sooner than people would: for keys that will not change."""

pytestmark = pytest.mark.usefixtures("own_servers")


@pytest.fixture
def own_servers(database: str, cache_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command finds the test's database."""
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("REDIS_URL", cache_url)
    resync(database, cache_url, "profile")


def test_0_where_all_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit"]) == 0
    assert "public.profile: 5 keys compared, every one." in capsys.readouterr().out


def test_1_where_a_key_is_wrong_and_0_once_it_is_repaired(
    client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    client.delete("profile:user 3")
    assert main(["audit", "--json", *SOON]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["agrees"] is False
    assert facts["wrong"] == [
        {
            "key": "user 3",
            "kind": "missing",
            "words": "is in the table, but not in the cache",
            "reason": "",
        }
    ]
    assert facts["looks"][0] == {"after": 0, "differing": 1, "share": 0.8, "nines": 0}
    assert main(["audit", "--repair", *SOON]) == 0
    assert "1 key was wrong, and repaired." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DATABASE_URL", "postgresql://127.0.0.1:1/absent", "does not answer"),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "does not answer"),
    ],
)
def test_2_where_a_server_does_not_answer(
    variable: str,
    value: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["audit"]) == 2
    assert words in capsys.readouterr().err


def test_2_where_the_table_is_not_captured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--table", "plain"]) == 2
    assert capsys.readouterr().err == (
        "reactive-demo: There is no table plain in this database: run "
        "`reactive-demo install --table plain`, or `install(database_url, 'plain')`.\n"
    )


def test_2_where_the_database_refuses(
    stack: Stack, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE nobody_here LOGIN")
        try:
            monkeypatch.setenv("DATABASE_URL", f"{database}&user=nobody_here")
            assert main(["audit"]) == 2
        finally:
            connection.execute("DROP ROLE nobody_here")
    assert "permission denied" in capsys.readouterr().err


def test_2_where_something_unforeseen_happens(
    client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    client.delete("profile:user 3")
    assert main(["audit", "--again", "1e300"]) == 2, "1 would say that keys are wrong"
    assert "OverflowError: " in capsys.readouterr().err


def test_help_tells_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["audit", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert (
        "Exit status: 0 if all rows agree, 1 if some are wrong, 2 if the comparison failed."
        in words
    )


def test_a_table_named_with_its_schema(
    database: str, cache_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    resync(database, cache_url, "public.profile")
    assert list(Cache(cache_url, "public.profile").scan())
    install(database, "public.profile")
    assert main(["audit", "--table", "public.profile"]) == 0
    assert "5 keys compared" in capsys.readouterr().out
