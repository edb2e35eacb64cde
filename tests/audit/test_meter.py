"""The meter on real servers: it finds what is wrong, and does not blame what is only late."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import redis

from reactive_demo import Cache, Listener, NotifyFeed, Profiles, install
from reactive_demo.changes import Change
from reactive_demo.errors import NotCapturedError
from reactive_demo.tools.audit import Kind, Report, audit, repair
from reactive_demo.tutorial.chapter_setup import install_article
from tools.waiting import until

Listen = Callable[..., Listener]

SOON = (0.1, 0.2)
"""Looks again sooner than people would: for keys that will not change."""


def kinds(report: Report) -> dict[str, Kind]:
    return {difference.key: difference.kind for difference in report.wrong}


def look(database: str, cache: Cache, table: str | None = None, *, captured: bool = True) -> Report:
    return audit(database, cache, table, captured=captured, again=SOON)


def test_all_is_well(database: str, cache: Cache, listen: Listen) -> None:
    listen(database, cache)
    report = audit(database, cache)
    assert report.agrees
    assert (report.rows, report.compared, report.late) == (5, 5, 0)
    assert [one.differing for one in report.looks] == [0], "and there is nothing to look at again"


def test_it_finds_every_kind_of_difference(
    database: str, cache: Cache, client: redis.Redis, listen: Listen
) -> None:
    listen(database, cache)
    row = json.loads(str(client.hget("profile:user 1", "row")))
    client.hset("profile:user 1", "row", json.dumps(row | {"likes_count": 99}))  # same version
    client.delete("profile:user 2")
    client.hset("profile:user 3", "row", "garbage")
    client.delete("profile:user 4")
    client.set("profile:user 4", "somebody else's")
    client.hset("profile:gone", mapping={"row": '{"username":"gone"}', "version": "1:1"})
    client.set("profile", "not under the prefix")
    client.set("profile:statistics", "no row, and no row's key")
    report = look(database, cache)
    assert kinds(report) == {
        "gone": Kind.EXTRA,
        "user 1": Kind.CONTENT,
        "user 2": Kind.MISSING,
        "user 3": Kind.UNREADABLE,
        "user 4": Kind.UNREADABLE,
    }
    assert "likes_count is 99 in the cache and 0 in the table" in report.text()
    assert (report.compared, len(report.looks)) == (6, 3)
    repaired = repair(database, cache, report)
    assert (repaired.agrees, repaired.repaired) == (True, 5)
    assert look(database, cache).looks[0].differing == 0
    assert client.get("profile:statistics"), "not ours: it stays"


def test_what_is_late_is_not_wrong(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    first = listen(database, cache)
    first.stop()
    connection.execute("UPDATE profile SET likes_count = 7")
    connection.execute("DELETE FROM profile WHERE username = 'user 5'")
    assert set(kinds(look(database, cache)).values()) == {Kind.CONTENT, Kind.EXTRA}

    def catch_up(*_: int) -> None:
        """The rows are compared; the cached keys that the table has not come next."""
        listen(database, cache)

    report = audit(database, cache, again=SOON, progress=catch_up)
    assert report.agrees
    assert (report.late, report.looks[0].differing) == (4, 4)


def test_a_healthy_pipeline_under_load_is_never_wrong(
    database: str, cache: Cache, listen: Listen
) -> None:
    listen(database, cache)
    over = threading.Event()

    def write(number: int) -> None:
        with Profiles(database) as profiles:
            while not over.is_set():
                profiles.increment(f"user {number}", "likes")
                profiles.increment(f"new {number}", "likes")
                profiles.delete(f"new {number}")

    with ThreadPoolExecutor(2) as writers:
        futures = [writers.submit(write, number) for number in (1, 2)]
        try:
            reports = [audit(database, cache, again=(0.5, 0.5)) for _ in range(3)]
        finally:
            over.set()
        assert [future.result(10) for future in futures] == [None, None]
    assert [kinds(report) for report in reports] == [{}, {}, {}]


def test_composite_keys_and_excluded_columns(
    database: str, connection: psycopg.Connection, cache_url: str, listen: Listen
) -> None:
    connection.execute(
        'CREATE TABLE "Odd % table" (day date, n int, name text, secret text, price numeric,'
        " PRIMARY KEY (day, n))"
    )
    install(database, '"Odd % table"', exclude=["secret"])
    connection.execute(
        """INSERT INTO "Odd % table" SELECT '2024-02-29', n, 'a', 'hidden', 1.10"""
        " FROM generate_series(1, 3) n"
    )
    cache = Cache(cache_url, "odd")
    table = '"Odd % table"'
    listen(database, cache, table)
    assert look(database, cache, table).looks[0].differing == 0
    with redis.Redis.from_url(cache_url, decode_responses=True) as client:
        key = '["2024-02-29", 2]'
        row = json.loads(str(client.hget(f"odd:{key}", "row")))
        assert "secret" not in row
        client.hset(f"odd:{key}", "row", json.dumps(row | {"secret": "hidden"}))
        for foreign in ("no key of this table", '["2024-02-29"]', "[1, 2]"):
            client.hset(f"odd:{foreign}", mapping={"row": '{"n":1}', "version": "1:1"})
    report = look(database, cache, table)
    assert kinds(report) == {
        key: Kind.CONTENT,
        "no key of this table": Kind.EXTRA,
        '["2024-02-29"]': Kind.EXTRA,
        "[1, 2]": Kind.EXTRA,
    }
    assert repair(database, cache, report).agrees
    assert look(database, cache, table).looks[0].differing == 0


def test_the_articles_cache_has_no_versions(database_url: str, cache: Cache) -> None:
    install_article(database_url)
    with Profiles(database_url) as profiles, Listener(NotifyFeed(database_url), cache) as listener:
        listener.wait_until("live")
        for name in ("ada", "bob", "eve"):
            profiles.increment(name, "likes")
        until("all are cached", lambda: len(list(cache.scan())) == 3)
        assert look(database_url, cache, captured=False).agrees
        listener.stop()
        profiles.increment("ada", "likes")
        profiles.delete("bob")
        profiles.increment("joe", "likes")
    report = look(database_url, cache, captured=False)
    assert kinds(report) == {"ada": Kind.CONTENT, "bob": Kind.EXTRA, "joe": Kind.MISSING}
    assert repair(database_url, cache, report).agrees
    assert look(database_url, cache, captured=False).looks[0].differing == 0


def test_repair_loses_no_write_that_comes_meanwhile(
    database: str, cache: Cache, listen: Listen
) -> None:
    listen(database, cache)
    over = threading.Event()

    def write() -> None:
        with Profiles(database) as profiles:
            while not over.is_set():
                profiles.increment("user 1", "likes")

    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(write)
        cache.put([Change("user 2", None), Change("user 1", None)])
        try:
            report = look(database, cache)
            assert kinds(report) == {"user 2": Kind.MISSING}
            assert repair(database, cache, report).agrees
        finally:
            over.set()
        writing.result(10)
    assert audit(database, cache).agrees


def test_a_cache_that_is_ahead_of_its_table_stays_wrong(
    database: str, cache: Cache, client: redis.Redis, listen: Listen
) -> None:
    listen(database, cache)
    client.hset(
        "profile:user 1", mapping={"row": '{"username":"user 1"}', "version": f"{10**12}:1"}
    )
    report = repair(database, cache, look(database, cache), timeout=0.5)
    assert list(kinds(report)) == ["user 1"]
    assert report.repaired == 0


def test_a_large_table_is_sampled(
    database: str, connection: psycopg.Connection, cache: Cache, client: redis.Redis, listen: Listen
) -> None:
    connection.execute("INSERT INTO profile SELECT 'more ' || n FROM generate_series(1, 4995) n")
    listen(database, cache)
    for n in range(1, 4996, 5):
        client.delete(f"profile:more {n}")
    for n in range(500):
        client.hset(f"profile:gone {n}", "row", "{}")
    done: list[tuple[int, int]] = []
    report = audit(database, cache, limit=1000, again=SOON, progress=lambda *far: done.append(far))
    assert report.drawn
    assert 700 < report.drawn < 1300
    gone = sum(1 for key in kinds(report) if key.startswith("gone"))
    assert report.compared == report.drawn + gone
    assert 0 < gone <= 500, "of the cached keys, some are looked up as well"
    found = len(report.wrong) - gone
    assert 0.1 < found / report.drawn < 0.3, "a fifth of the rows is wrong, and of the sample"
    assert "rows compared, drawn at random" in report.text()
    assert (
        "`reactive-demo resync` refills the whole cache" in repair(database, cache, report).text()
    )
    assert done[-1][0] == report.drawn


def test_nothing_to_compare(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    connection.execute("DELETE FROM profile")
    assert look(database, cache).compared == 0
    listen(database, cache)
    report = look(database, cache)
    assert (report.agrees, report.rows) == (True, 0)


def test_a_table_that_is_not_captured(
    database: str, connection: psycopg.Connection, cache_url: str
) -> None:
    connection.execute("CREATE TABLE plain (n int PRIMARY KEY)")
    for name, reason in (("plain", "table plain is not captured"), ("absent", "no table absent")):
        with pytest.raises(NotCapturedError, match=f"{reason} .*: run `reactive-demo install"):
            audit(database, Cache(cache_url, name))


def test_a_column_that_was_added_unheard_is_found(
    database: str, connection: psycopg.Connection, cache: Cache, listen: Listen
) -> None:
    listen(database, cache)
    connection.execute("ALTER TABLE profile ADD bio text")
    report = look(database, cache)
    assert len(report.wrong) == 5
    assert "bio is absent in the cache and null in the table" in report.text()
    assert repair(database, cache, report).agrees
