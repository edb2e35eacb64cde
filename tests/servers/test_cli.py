"""The command `reactive-demo`: what it runs, installs and throws away."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from reactive_demo import Profiles, Stack, install, uninstall
from reactive_demo.capture.install import captured_tables
from reactive_demo.cli import main
from servers.homes import Home, answer

COMMANDS = ["lab", "run", "install", "uninstall", "listen", "resync", "audit", "doctor", "bench"]
COMMANDS += ["cluster", "faults", "renew", "reset", "serve"]

ALL_BUT_TABLES = """
    SELECT 'schema', nspname::text FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL
    SELECT 'function', oid::regprocedure::text FROM pg_proc WHERE oid >= 16384
    UNION ALL
    SELECT 'trigger', tgname::text FROM pg_trigger
    UNION ALL
    SELECT 'type', typname::text FROM pg_type WHERE oid >= 16384 AND typrelid = 0 AND typelem = 0
"""


def run(*command: str) -> subprocess.Popen[str]:
    """Run a program as `reactive-demo run` does."""
    return subprocess.Popen(
        [sys.executable, "-m", "reactive_demo", "run", "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def test_run_sets_both_urls_and_passes_words_and_status_on(stack: Stack) -> None:
    shown = 'printf "%s\\n" "$DATABASE_URL" "$REDIS_URL" "$@"; exit 7'
    program = run("sh", "-c", shown, "sh", "two words", "--help", "--", "")
    out, err = program.communicate(timeout=30)
    words = [stack.database_url, stack.redis_url, "two words", "--help", "--", ""]
    assert out.splitlines() == words
    assert "PostgreSQL and Valkey ready" in err
    assert program.returncode == 7


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("deadly", [signal.SIGTERM, signal.SIGINT])
def test_run_dies_by_the_signal_that_its_program_dies_by(deadly: signal.Signals) -> None:
    with run("sh", "-c", "echo ready; exec tail -f /dev/null") as program:
        assert program.stdout
        assert program.stdout.readline() == "ready\n"
        program.send_signal(deadly)
        assert program.wait(timeout=10) == -deadly


@pytest.mark.usefixtures("stack")
def test_run_gives_its_program_the_usual_signals() -> None:
    """Python ignores SIGPIPE; a shell that inherits this complains about broken pipes."""
    program = run("sh", "-c", "kill -PIPE $$; echo still here")
    assert program.communicate(timeout=30)[0] == ""
    assert program.returncode == -signal.SIGPIPE


def test_run_of_nothing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 1
    assert "reactive-demo run -- CMD" in capsys.readouterr().err


def test_run_of_no_such_program_ends_with_127(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--", "/no/such program"]) == 127
    assert capsys.readouterr().err == "reactive-demo: there is no program '/no/such program'\n"


@pytest.mark.usefixtures("stack")
def test_run_of_what_the_system_cannot_run_ends_with_126(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no line that names an interpreter")
    script.chmod(0o755)
    program = run(str(script))
    _, err = program.communicate(timeout=30)
    assert program.returncode == 126
    assert "cannot run: Exec format error" in err
    assert "Traceback" not in err


@pytest.mark.long
def test_lab_passes_options_on_to_jupyter(stack: Stack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reactive_demo", "lab", "--no-browser", "--version"],
        env={**os.environ, "DATABASE_URL": stack.database_url, "REDIS_URL": stack.redis_url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().replace(".", "").isdigit()


def test_install_twice_is_fine_and_uninstall_leaves_the_table_only(
    database_url: str, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", stack.redis_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        before = set(connection.execute(ALL_BUT_TABLES))
        assert main(["install"]) == 0
        installed = set(connection.execute(ALL_BUT_TABLES))
        assert installed > before
        connection.execute("SELECT reactive.increment('ada', 'likes')")
        assert main(["install"]) == 0
        assert set(connection.execute(ALL_BUT_TABLES)) == installed

        assert main(["uninstall", "--yes"]) == 0
        assert set(connection.execute(ALL_BUT_TABLES)) == before
        assert connection.execute("SELECT * FROM profile").fetchall() == [("ada", 0, 0, 1)]
        assert main(["uninstall", "--yes"]) == 0


@pytest.fixture
def use(database: str, cache_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the commands work on the test's database and cache."""
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("REDIS_URL", cache_url)
    return database


def test_uninstall_of_everything_is_confirmed_first(
    use: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(use, autocommit=True) as connection:
        connection.execute('CREATE TABLE "Order" (id int PRIMARY KEY)')
        install(use, '"Order"')
    everything = (
        'the capture of public."Order", public.profile and the schema `reactive` with everything'
    )

    asked: list[str] = []

    def ask(answer: str) -> int:
        monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
        monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answer)
        return main(["uninstall"])

    monkeypatch.setattr(sys, "stdin", None)
    assert main(["uninstall"]) == 1
    err = capsys.readouterr().err
    assert f"This would remove {everything} in it, and was not done" in err
    assert "--yes" in err
    assert ask("") == 1
    assert asked == [f"This removes {everything} in it. Go on? [y/N] "]
    assert captured_tables(use) == ['public."Order"', "public.profile"]
    assert ask("y") == 0
    assert captured_tables(use) == []


@pytest.mark.parametrize(
    "scope", [["--yes"], ["--table", "profile"], ["--table", "public.profile"]]
)
def test_uninstall_says_what_stays_in_redis_and_removes_it_if_asked_to(
    scope: list[str], use: str, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    with Profiles(use) as profiles:
        profiles.increment("ada", "likes")
    assert main(["resync"]) == 0
    client.set("profile:list", "a key of somebody else's")
    assert main(["uninstall", *scope]) == 0
    assert "2 keys of the cache of " in (out := capsys.readouterr().out)
    assert "--cache`" in out
    install(use)
    assert main(["uninstall", *scope, "--cache"]) == 0
    assert "2 keys of the cache of " in capsys.readouterr().out
    assert client.keys("*") == ["profile:list"]
    assert main(["uninstall", *scope]) == 0
    assert "in Redis" not in capsys.readouterr().out


def test_the_commands_find_out_that_a_table_is_followed_in_the_log(
    use: str, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert main(["install", "--feed", "log"]) == 0
        assert main(["install"]) == 0  # as before
        assert capsys.readouterr().out.count("are now published in PostgreSQL's log") == 2
        with Profiles(use) as profiles:
            profiles.increment("ada", "likes")
        assert main(["resync"]) == 0
        assert "The cache holds 1 rows of profile." in capsys.readouterr().out
        assert main(["audit"]) == 0
        assert "nobody reads it" in capsys.readouterr().out
        client.hset("profile:ada", "row", "{}")
        assert main(["audit", "--again", "0.1"]) == 1
        assert main(["audit", "--again", "0.1", "--repair"]) == 0
        with psycopg.connect(use, autocommit=True) as connection:
            connection.execute("SELECT reactive.capture('profile')")
            assert main(["resync"]) == 1
            assert "installed for both feeds" in capsys.readouterr().err
            assert main(["resync", "--feed", "log"]) == 0
            assert main(["uninstall", "--yes"]) == 0
            slots = "SELECT FROM pg_replication_slots WHERE database = current_database()"
            assert connection.execute(slots).fetchall() == []
    finally:
        uninstall(use)


@pytest.mark.long
def test_install_on_a_locked_table_gives_up_and_says_why(
    database_url: str,
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", stack.redis_url)
    assert main(["install"]) == 0
    with psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE profile")
        assert main(["install"]) == 0  # it stands already, and wants no lock
        connection.execute("SELECT FROM profile")
    assert main(["uninstall", "--yes"]) == 0
    with psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE profile")
        assert main(["install"]) == 1
        connection.execute("SELECT FROM profile")
    assert "The table profile stayed locked for 20 s" in capsys.readouterr().err
    assert main(["install"]) == 0


def test_install_without_the_right_to_says_so_and_changes_nothing(
    database_url: str,
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url.replace("reactive_demo@", "guest@", 1))
    monkeypatch.setenv("REDIS_URL", stack.redis_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        try:
            assert main(["install"]) == 1
            assert connection.execute("SELECT to_regclass('profile')").fetchone() == (None,)
        finally:
            connection.execute("DROP ROLE guest")
    err = capsys.readouterr().err
    assert "The database refused (permission denied" in err
    assert "This account needs GRANT CREATE ON DATABASE test_" in err
    assert "; GRANT USAGE, CREATE ON SCHEMA public." in err
    assert err.count("\n") == 1


def test_database_url_alone_replaces_postgresql_alone(home: Home, stack: Stack) -> None:
    with home.connect(database_url=stack.database_url) as own:
        assert own.database_url == stack.database_url
        assert own.redis_url != stack.redis_url
        assert answer(own.database_url, own.redis_url)
        assert [path.name for path in home.path.iterdir()] == ["valkey"]
        assert repr(own).endswith("Redis: embedded)")


def test_redis_url_alone_replaces_valkey_alone(home: Home, stack: Stack) -> None:
    with home.connect(redis_url=stack.redis_url) as own:
        assert own.redis_url == stack.redis_url
        assert own.database_url != stack.database_url
        assert answer(own.database_url, own.redis_url)
        assert [path.name for path in home.path.iterdir()] == ["postgres"]
        assert repr(own).startswith("Stack(PostgreSQL: embedded")


def test_reset_says_what_it_threw_away(
    used_home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REACTIVE_DEMO_HOME", str(used_home.path))
    data = [used_home.place(name).data for name in ("postgres", "valkey")]
    copied = [programs for folder in data if (programs := folder.with_name("programs")).exists()]
    assert main(["reset"]) == 0
    removed = {f"removed {folder}" for folder in (*data, *copied)}
    assert set(capsys.readouterr().out.splitlines()) == removed
    assert not any(folder.exists() for folder in data)
    assert main(["reset"]) == 0
    assert capsys.readouterr().out == "There was nothing to delete.\n"


@pytest.mark.long
def test_reset_waits_for_servers_that_still_run(
    home: Home, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REACTIVE_DEMO_HOME", str(home.path))
    home.connect(database_url=stack.database_url).close()
    assert not home.is_quiet()
    assert main(["reset"]) == 0
    assert home.is_quiet()
    with home.connect(database_url=stack.database_url) as anew:
        assert answer(anew.database_url, anew.redis_url)


def test_reset_refuses_while_someone_uses_the_servers(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reset"]) == 1
    assert "are in use" in capsys.readouterr().err
    assert answer(stack.database_url, stack.redis_url)


def test_reset_refuses_with_a_database_of_ones_own(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", stack.database_url)
    assert main(["reset"]) == 1
    assert "unset DATABASE_URL first" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    assert " ".join(["usage: reactive-demo", *command]) in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [[], ["nosuch"], ["install", "--nosuch"], ["reset", "all"]])
def test_what_is_not_a_command_ends_with_2(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(wrong)
    assert end.value.code == 2
    assert "usage: reactive-demo" in capsys.readouterr().err
