"""What would hinder following a table is said before anything is installed, and nothing is left."""

import psycopg
import pytest

from doctor.conftest import Find
from reactive_demo import install
from reactive_demo.tools.doctor import State, examine_table

TABLES = """
    CREATE TABLE good (hall text, seat int, guest text, PRIMARY KEY (hall, seat));
    CREATE TABLE keyless (line text);
    CREATE UNLOGGED TABLE "Vault" (id int PRIMARY KEY, password_hash text, note text);
    INSERT INTO "Vault" SELECT 1, 'x', 'short';
    ANALYZE "Vault";
"""


def words_of(url: str, table: str) -> dict[str, tuple[State, str]]:
    return {line.subject: (line.state, line.words) for line in examine_table(url, table).lines}


def test_a_table_that_can_be_followed(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(TABLES)
        found = words_of(empty_database, "good")
        assert found["install"] == (
            State.OK,
            "public.good can be followed, by its key (hall, seat)",
        )
        assert found["capture"] == (State.OK, "not installed yet")
        left = connection.execute("SELECT to_regnamespace('reactive')").fetchone()
        assert left == (None,)
    for feed in ("change table", "log"):
        install(empty_database, "good", feed=feed)
        assert words_of(empty_database, "good")["capture"][1].endswith(f"in the {feed}")


def test_what_hinders_says_what_to_do(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(TABLES)
    report = examine_table(empty_database, "keyless")
    assert not report.healthy
    assert "has no primary key. Give it one" in words_of(empty_database, "keyless")["install"][1]
    assert "There is no table nothing" in words_of(empty_database, "nothing")["nothing"][1]
    found = words_of(empty_database, '"Vault"')
    assert {subject for subject, (state, _) in found.items() if state is State.WARNING} == {
        "columns",
        "durability",
    }
    assert found["columns"][1].startswith("password_hash: ")


def test_an_account_that_may_not_install_hears_what_it_needs(
    empty_database: str, find: Find
) -> None:
    weak = empty_database.replace("reactive_demo@", "weaker@", 1)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(TABLES)
        connection.execute("ALTER TABLE good ENABLE ROW LEVEL SECURITY")
        connection.execute("CREATE ROLE weaker LOGIN")
        try:
            lines = list(examine_table(weak, "good").lines)
            assert "GRANT CREATE ON DATABASE" in find("install", lines).words
            assert "BYPASSRLS" in find("row security", lines).words
        finally:
            connection.execute("DROP ROLE weaker")


@pytest.mark.parametrize("away", ["postgresql://127.0.0.1:1/x"])
def test_a_server_that_is_away_is_a_line(away: str) -> None:
    ((subject, (state, _)),) = words_of(away, "good").items()
    assert (subject, state) == ("good", State.MEND)
