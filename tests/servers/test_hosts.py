"""Several hosts in one URL: each part of the package finds the one that takes writes."""

import socket
import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from reactive_demo import Profiles
from reactive_demo.hosts import at_host_of, hosts_in, with_primary_asked_for
from reactive_demo.postgres import open_postgres
from reactive_demo.servers import Stack, connect
from reactive_demo.settings import Settings
from reactive_demo.tools.doctor import database
from reactive_demo.tools.doctor.report import State
from reactive_demo.tutorial.addresses import postgres_address
from tools.waiting import until


@pytest.fixture
def silent() -> Iterator[str]:
    """The port of a host that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


def beside(database_url: str, *ports: str) -> str:
    """The URL with these ports of this machine before its own host."""
    own = str(conninfo_to_dict(database_url)["host"])
    hosts = ",".join([*["127.0.0.1"] * len(ports), own])
    return make_conninfo(database_url, host=hosts, port=",".join([*ports, "5432"]))


@pytest.mark.parametrize(
    ("url", "hosts"),
    {
        "postgresql://a/db": [],
        "dbname=db": [],
        "postgresql:///db?host=%2Ftmp": [],
        "postgresql://a:1,b:2/db": [{"host": "a", "port": "1"}, {"host": "b", "port": "2"}],
        "host=a,b dbname=db": [{"host": "a"}, {"host": "b"}],
        "host=a,/tmp port=7": [{"host": "a", "port": "7"}, {"host": "/tmp", "port": "7"}],
        "hostaddr=::1,10.0.0.1": [{"hostaddr": "::1"}, {"hostaddr": "10.0.0.1"}],
        "host=a,b hostaddr=::1,::2": [
            {"host": "a", "hostaddr": "::1"},
            {"host": "b", "hostaddr": "::2"},
        ],
        "host=a,b port=1,2,3": [],  # libpq refuses it
    }.items(),
)
def test_the_hosts_of_a_url(url: str, hosts: list[dict[str, str]]) -> None:
    assert hosts_in(url) == hosts


@pytest.mark.parametrize(
    ("url", "complete"),
    {
        "postgresql://a:1/db": "postgresql://a:1/db",
        "postgresql://a:1,b:2/db": "postgresql://a:1,b:2/db?target_session_attrs=read-write",
        "postgresql://a,b/db?port=7": "postgresql://a,b/db?port=7&target_session_attrs=read-write",
        "host=a,b": "host=a,b target_session_attrs=read-write",
        "host=a,b target_session_attrs=any": "host=a,b target_session_attrs=any",
    }.items(),
)
def test_other_programs_are_led_to_the_primary_as_well(url: str, complete: str) -> None:
    assert with_primary_asked_for(url) == complete
    assert hosts_in(complete) == hosts_in(url)


def test_a_silent_host_keeps_nobody_from_the_one_that_answers(
    captured_database: str, stack: Stack, silent: str
) -> None:
    url = beside(captured_database, silent)
    with open_postgres(url, "test", target_session_attrs="any") as connection:
        own = conninfo_to_dict(at_host_of(connection, url))
    assert own["host"] == conninfo_to_dict(captured_database)["host"]
    with Profiles(url) as profiles:
        profiles.increment("ada", "likes")
        assert profiles.get("ada")["likes_count"] == 1
    assert postgres_address(url) == postgres_address(captured_database)
    environ = {"DATABASE_URL": url, "REDIS_URL": stack.redis_url}
    connect(Settings.from_environment(environ)).close()
    assert {line.state for line in database.examine(url, "", "")} == {State.OK}


def test_of_hosts_that_refuse_and_are_silent_each_is_named(silent: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = str(server.getsockname()[1])
    url = f"host=127.0.0.1,localhost port={silent},{refusing} dbname=db user=me"
    with pytest.raises(psycopg.OperationalError) as caught:
        open_postgres(url, "test", connect_timeout=2)
    assert "127.0.0.1: " in str(caught.value)
    assert "localhost: connection failed" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_thread_and_no_connection_is_left(captured_database: str, silent: str) -> None:
    url = beside(captured_database, silent)
    with psycopg.connect(captured_database, autocommit=True) as observer:
        open_postgres(url, "left behind", connect_timeout=2).close()
        until(
            "the threads have ended",
            lambda: not [t for t in threading.enumerate() if t.name == "reactive_demo connect"],
            10,
        )
        left = "SELECT FROM pg_stat_activity WHERE application_name = 'reactive_demo left behind'"
        until("the connections are closed", lambda: not observer.execute(left).rowcount)
