"""Nothing that others have planted under names that we use is ever called with our rights."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from reactive_demo import (
    Cache,
    ChangeTableFeed,
    Listener,
    LogFeed,
    NotifyFeed,
    Profiles,
    ReadThrough,
    Stack,
    install,
    uninstall,
)
from reactive_demo.options import Options
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tools.audit import audit, repair
from reactive_demo.tools.doctor import database as doctor
from reactive_demo.tools.services import resync
from reactive_demo.tutorial.bench import large, places, writes
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.tutorial.chapter_setup import install_article, install_bare
from reactive_demo.tutorial.checks import pipeline as checks
from reactive_demo.tutorial.faults import actions, lab
from reactive_demo.tutorial.faults.lab import FaultLab
from reactive_demo.tutorial.strategies.rows import Rows
from tools.databases import new_database
from tools.traps import ROOT, Traps
from tools.waiting import until


@pytest.fixture(scope="module")
def trapped(stack: Stack) -> Iterator[tuple[str, Traps]]:
    """A database full of traps, which a superuser enters."""
    with new_database(stack, "trapped") as url:
        traps = Traps(url)
        yield url, traps
        traps.connection.execute("DROP OWNED BY mallory; DROP ROLE mallory")
        traps.connection.close()


@pytest.fixture(autouse=True)
def traps(trapped: tuple[str, Traps]) -> Iterator[Traps]:
    """The traps; none of them has been touched when the test is over."""
    _, traps = trapped
    traps.touched()
    yield traps
    assert traps.touched() == []


@pytest.fixture
def database(trapped: tuple[str, Traps]) -> str:
    url, _ = trapped
    install(url)
    return url


def test_the_traps_tell_of_whoever_is_careless(trapped: tuple[str, Traps]) -> None:
    url, traps = trapped
    traps.touched()
    careless = [
        "SELECT hashtextextended('x'::varchar, 0)",
        "SELECT FROM pg_class LIMIT 1",
        "SELECT 'x'::text",
        "SELECT unnest(ARRAY['x'])",
        "SELECT 1::bigint + 1",
        "SELECT 'a' || current_database()",
    ]
    for statement in careless:
        with suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)
        assert traps.touched(), statement
    with psycopg.connect(url) as connection:
        connection.execute("SELECT current_database() = 'x'")
        connection.rollback()
    assert traps.touched(), "also what was rolled back"


def test_install_and_uninstall(database: str, traps: Traps) -> None:
    traps.connection.execute(
        "CREATE TABLE IF NOT EXISTS public.pairs (a uuid, b date, n text, PRIMARY KEY (a, b))"
    )
    install(database, "pairs", exclude=["n"])
    uninstall(database, "pairs")
    uninstall(database)


@pytest.mark.parametrize("steps", [install_article, install_bare])
def test_the_steps_of_the_tutorial(database: str, steps: Callable[[str], None]) -> None:
    steps(database)


def test_the_listener_on_change_table(database: str, cache: Cache) -> None:
    follow(ChangeTableFeed(database, options=Options(heartbeat=0.2, prune_interval=0.1)), cache)


def test_the_listener_on_notifications(database: str, cache: Cache) -> None:
    install_article(database)
    follow(NotifyFeed(database), cache)


def test_the_listener_on_the_log(database: str, cache: Cache) -> None:
    install(database, feed="log")
    follow(LogFeed(database, options=Options(heartbeat=0.2)), cache)
    uninstall(database)


def follow(feed: ChangeTableFeed | LogFeed | NotifyFeed, cache: Cache) -> None:
    """Take over twice, follow a change of every kind, and stand by."""
    with Listener(feed, cache, takeover=True) as older:
        older.wait_until("live")
    with (
        Listener(feed, cache, takeover=True) as listener,
        Listener(feed, cache) as standby,
        Profiles(feed.database_url) as profiles,
    ):
        listener.wait_until("live")
        standby.wait_until("standby")
        profiles.increment_all([("ada", "likes"), ("bob", "likes")])
        profiles.rename("bob", "eve")
        profiles.delete("eve")
        until("ada is there", lambda: cache.get("ada") == profiles.get("ada"))
        until("eve is not", lambda: cache.get("eve") is None)
        profiles.delete("ada")
        until("nor is ada", lambda: cache.get("ada") is None)


def test_rows_that_cannot_be_read(database: str, cache: Cache, traps: Traps) -> None:
    traps.connection.execute(
        "CREATE TABLE IF NOT EXISTS public.shares (id int8, of date, n int,"
        " part int GENERATED ALWAYS AS (1 / n) VIRTUAL, PRIMARY KEY (id, of));"
        "INSERT INTO public.shares SELECT i, 'today', i % 7 FROM generate_series(0, 99) i"
    )
    install(database, "shares")
    with Listener(
        ChangeTableFeed(database, "shares"), Cache(cache.redis_url, "shares")
    ) as listener:
        listener.wait_until("live")
        assert listener.quarantine
        traps.connection.execute("UPDATE public.shares SET n = 0; DELETE FROM public.shares")
        until("they are gone", lambda: not listener.quarantine)
    uninstall(database, "shares")


def test_read_through(database: str, cache: Cache) -> None:
    with Profiles(database) as profiles, ReadThrough(database, cache) as rows:
        profiles.increment("ada", "likes")
        assert rows.get("ada") == profiles.get("ada")
        assert rows.get("nobody") is None


def test_audit_repair_and_resync(database: str, cache: Cache) -> None:
    with Profiles(database) as profiles:
        profiles.increment("ada", "likes")
    resync(database, cache.redis_url, "profile")
    with open_redis(cache.redis_url) as client:
        client.hset(cache.redis_key("ada"), "row", '{"username": "ada", "likes_count": -1}')
    for captured in (True, False):
        report = audit(database, cache, captured=captured, again=(0.1,))
        assert len(report.wrong) == captured
        if captured:
            assert repair(database, cache, report).repaired == 1


def test_doctor_and_the_checks_of_the_chapters(database: str) -> None:
    lines = list(doctor.examine(database, "yours", ""))
    assert all(line.state.name == "OK" for line in lines), lines
    checks.is_captured(database)


def test_the_other_strategies(database: str) -> None:
    install_bare(database)
    with Rows(database) as rows:
        before = rows.get_or_new("ada")["likes_count"]
        assert rows.incremented("ada", "likes")["likes_count"] == before + 1
        assert rows.store("likes", [("1-0", "ada", "likes"), ("1-0", "ada", "likes")]) == 1


def test_the_benchmark(database: str, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "fresh_database", lambda *_: database)
    monkeypatch.setattr(places, "drop_database", lambda *_: None)
    with Places.make(stack) as made:
        made.bare()
        made.article()
        made.captured()
        writes.flood(database, 1)
        large._make(made, 100, "the change table")
        uninstall(database, "large")


def test_the_fault_lab(database: str, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "fresh_database", lambda *_: make_conninfo(database))
    monkeypatch.setattr(lab, "drop_database", lambda *_: None)
    with FaultLab(stack, may_harm=True) as faults:
        actions.hold_a_transaction(faults)
        actions.deliver_again(faults)
        actions.write_a_large_row(faults)
        for pipeline in faults.pipelines:
            pipeline.await_quiescence()


def test_the_sql_files_as_psql_runs_them(database: str) -> None:
    """By PostgreSQL's own search_path, where what matches better wins all the same."""
    uninstall(database)
    with psycopg.connect(database, options="-c search_path=public") as connection:
        for file in sorted((ROOT / "sql").glob("0*.sql")):
            connection.execute(file.read_bytes())
        connection.execute("SELECT reactive.capture('public.profile')")
        connection.execute("SELECT reactive.store('likes', '{2-0}', '{ada}', '{likes}')")
        connection.execute("SELECT reactive.increment('ada', 'likes')")
        connection.execute("SELECT reactive.uncapture('public.profile')")


def test_every_session_of_ours_is_opened_at_one_place() -> None:
    """Others try whether a server answers, ask a server of their own, or play an application."""
    own = {"servers/pair.py", "tutorial/brokers/lab.py", "tutorial/checks/ch11.py"}
    own |= {f"tutorial/{name}.py" for name in ("limits/measures", "machines/followed")}
    own |= {"tutorial/machines/machines.py", "tutorial/own_table.py"}
    probes = {"postgres.py", "servers/__init__.py", "servers/engines.py", "tutorial/addresses.py"}
    package = ROOT / "reactive_demo"
    connecting = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"(psycopg|Connection)\.connect\(", file.read_text("utf-8"))
    }
    assert connecting <= probes | own
