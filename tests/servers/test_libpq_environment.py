"""Variables of libpq that are set for another server do not lead to or from the embedded one."""

import os
import subprocess
import sys

import psycopg
import pytest

from reactive_demo import Stack
from reactive_demo.servers.libpq_environment import NEUTRAL, NOT_OVERRIDABLE, shielded
from servers.homes import Home

ELSEWHERE = {
    "PGHOST": "10.255.255.1",
    "PGHOSTADDR": "127.0.0.1",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGDATABASE": "nothing",
    "PGPASSWORD": "x",
    "PGPASSFILE": "/nosuch",
    "PGSERVICE": "nosuch",
    "PGSERVICEFILE": "/nosuch",
    "PGSYSCONFDIR": "/nosuch",
    "PGOPTIONS": "-c default_transaction_read_only=on",
    "PGAPPNAME": "another",
    "PGTZ": "Nowhere/Nowhere",
    "PGDATESTYLE": "nonsense",
    "PGGEQO": "nonsense",
    "PGCLIENTENCODING": "LATIN1",
    "PGCONNECT_TIMEOUT": "soon",
    "PGCHANNELBINDING": "require",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGREQUIREPEER": "nobody-at-all",
    "PGTARGETSESSIONATTRS": "standby",
    "PGLOADBALANCEHOSTS": "nonsense",
    "PGSSLMODE": "verify-full",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLCERTMODE": "require",
    "PGSSLCERT": "/nosuch",
    "PGSSLKEY": "/nosuch",
    "PGSSLROOTCERT": "system",
    "PGSSLCRL": "/nosuch",
    "PGSSLCRLDIR": "/nosuch",
    "PGSSLCOMPRESSION": "nonsense",
    "PGSSLSNI": "nonsense",
    "PGSSLMINPROTOCOLVERSION": "nonsense",
    "PGSSLMAXPROTOCOLVERSION": "nonsense",
    "PGMINPROTOCOLVERSION": "3.2",
    "PGMAXPROTOCOLVERSION": "nonsense",
    "PGGSSENCMODE": "require",
    "PGGSSLIB": "nonsense",
    "PGGSSDELEGATION": "1",
    "PGKRBSRVNAME": "nonsense",
}

READ = (
    "import os, psycopg\n"
    "with psycopg.connect(os.environ['DATABASE_URL']) as connection:\n"
    "    print(connection.execute('SHOW default_transaction_read_only').fetchone()[0],"
    " connection.info.encoding)"
)


@pytest.fixture
def base(stack: Stack) -> str:
    return stack.database_url


def test_the_list_has_every_variable_that_libpq_reads() -> None:
    known = {one.envvar.decode() for one in psycopg.pq.Conninfo.get_defaults() if one.envvar}
    assert known <= ELSEWHERE.keys()
    assert {*NEUTRAL, *NOT_OVERRIDABLE} <= ELSEWHERE.keys()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_variable_matters(base: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, ELSEWHERE[name])
    with psycopg.connect(shielded(base)) as connection:
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("off",)
        assert connection.info.encoding == "utf-8"


def test_all_of_them_together_do_not_keep_the_servers_from_starting(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    with home.connect() as stack, psycopg.connect(stack.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.usefixtures("stack")
def test_a_program_that_is_run_gets_a_url_that_works_as_it_is() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "reactive_demo", "run", "--", sys.executable, "-c", READ],
        env={**os.environ, **ELSEWHERE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "off utf-8\n"), ended.stderr


def test_a_clean_environment_leaves_the_url_short_and_other_variables_alone(base: str) -> None:
    environ = {"PGPASSWORD": "x", "PGSERVICE": "nosuch", "HOME": "/"}
    assert shielded(base, environ) == base
    assert environ == {"PGPASSWORD": "x", "HOME": "/"}
