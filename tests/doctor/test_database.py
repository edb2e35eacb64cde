"""What the doctor says of PostgreSQL, well and with each fault."""

import psycopg
import pytest

from doctor.conftest import Find
from doctor.pooler import Pooler
from reactive_demo import Stack, install
from reactive_demo.tools.doctor import Line, State, database


def examine(url: str) -> list[Line]:
    return list(database.examine(url, "your own", "here"))


def test_a_server_that_is_well(database_url: str) -> None:
    lines = examine(database_url)
    assert [line.state for line in lines] == [State.OK] * 5
    assert lines[0].words.startswith("18.")
    assert lines[1].words == "a notification came back"


def test_nobody_listens_at_the_port(refused_port: int) -> None:
    (line,) = examine(f"postgresql://127.0.0.1:{refused_port}/x")
    assert (line.subject, line.state) == ("PostgreSQL", State.MEND)
    assert line.words.startswith("does not answer (")
    assert "efused" in line.words
    assert "correct DATABASE_URL" in line.words


def test_a_database_that_is_not_there(database_url: str) -> None:
    (line,) = examine(database_url.replace("/test_", "/missing_"))
    assert line.state is State.MEND
    assert "does not exist" in line.words


def test_a_user_who_may_have_one_connection_only(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE lonely LOGIN CONNECTION LIMIT 1")
        try:
            (line,) = examine(database_url.replace("reactive_demo@", "lonely@", 1))
        finally:
            connection.execute("DROP ROLE lonely")
    assert line.state is State.MEND
    assert 'too many connections for role "lonely"' in line.words


def test_a_server_that_is_too_old() -> None:
    line = database.version(130014, "your own")
    assert (line.state, line.words) == (
        State.MEND,
        "13.14, your own; 14 or newer is needed: upgrade that server.",
    )


@pytest.mark.parametrize("number", [140000, 160004, 190000])
def test_a_server_of_another_version_than_the_tested_one(number: int) -> None:
    line = database.version(number, "your own")
    assert line.state is State.OK
    assert line.words.endswith("18 is the tested version")


def test_a_replica_hears_nothing(replica_url: str, find: Find) -> None:
    lines = examine(replica_url)
    assert find("PostgreSQL", lines).state is State.OK
    line = find("LISTEN / NOTIFY", lines)
    assert line.state is State.MEND
    assert line.words.startswith("this is a replica")


def test_a_pooler_in_transaction_mode_loses_what_was_listened_for(
    database_url: str, find: Find
) -> None:
    with Pooler(database_url) as pooler:
        lines = examine(pooler.url)
    assert find("PostgreSQL", lines).state is State.OK
    line = find("LISTEN / NOTIFY", lines)
    assert line.state is State.MEND
    assert "a pooler gives each transaction another session" in line.words


def test_notifications_of_another_database_are_not_heard(stack: Stack, database_url: str) -> None:
    """What a proxy does that leads the two connections to different servers."""
    with (
        psycopg.connect(database_url, autocommit=True) as one,
        psycopg.connect(stack.database_url, autocommit=True) as other,
    ):
        heard = database.hears(one, other)
        assert database.hears(one, one)
    line = database.listening(heard=heard, pooled=False)
    assert line.state is State.MEND
    assert "nothing came back within 2 s" in line.words


def test_a_pooler_that_keeps_sessions_is_fine() -> None:
    line = database.listening(heard=True, pooled=True)
    assert (line.state, line.words) == (
        State.OK,
        "a notification came back, through a pooler that keeps sessions",
    )


def test_the_schema_in_each_of_its_states(database_url: str, find: Find) -> None:
    def words() -> str:
        line = find("schema", examine(database_url))
        assert line.state is State.OK
        return line.words

    assert words().startswith("not there yet")
    install(database_url)
    assert words() == "the table profile and its trigger are in place"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE profile DISABLE TRIGGER ALL")
        assert words().startswith("the table profile exists, without a trigger")
        connection.execute("DROP SCHEMA reactive CASCADE")
        assert words().startswith("the table profile exists, without a trigger")


def test_the_rights_that_a_listener_lacks_are_all_named(database: str, find: Find) -> None:
    weak = database.replace("reactive_demo@", "weak@", 1)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE ROLE weak LOGIN")
        try:
            line = find("rights", examine(weak))
            assert line.state is State.WARNING
            assert line.words == (
                "to run a listener, this account needs GRANT USAGE ON SCHEMA reactive; "
                "GRANT SELECT, UPDATE ON reactive.captured; GRANT SELECT ON public.profile; "
                "GRANT DELETE, SELECT ON reactive.change."
            )
            for grant in line.words.removesuffix(".").split("GRANT ")[1:]:
                connection.execute(f"GRANT {grant.rstrip('; ')} TO weak".encode())
            assert find("rights", examine(weak)).state is State.OK
        finally:
            connection.execute("DROP OWNED BY weak")
            connection.execute("DROP ROLE weak")


def test_where_nothing_is_installed_no_right_is_missing(database_url: str, find: Find) -> None:
    assert find("rights", examine(database_url)).state is State.OK
