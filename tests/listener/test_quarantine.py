"""A value that Redis will not take goes into quarantine, and everything else goes on."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import psycopg
import pytest
import redis

from reactive_demo import Cache, Listener, NotifyFeed
from reactive_demo.changes import Batch, Change, State, Versioned
from reactive_demo.listener.quarantine import Quarantine
from reactive_demo.tools.audit import audit
from tools.redis_server import RedisServer
from tools.waiting import until

Listen = Callable[..., Listener]

LIMIT = 2**20
"""Bytes of one value that the tests' Redis takes; the least that it lets one choose."""

NAMES = [f"user {n}" for n in range(40)]
LARGE = NAMES[17]


@pytest.fixture
def strict(own_redis: RedisServer) -> Iterator[redis.Redis]:
    """A client of a Redis that closes the connection at a large value."""
    with redis.Redis.from_url(own_redis.url, decode_responses=True) as client:
        client.config_set("proto-max-bulk-len", LIMIT)
        yield client


@pytest.fixture
def notes(database: str) -> Iterator[psycopg.Connection]:
    """A captured table whose rows may be of any size."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE note (id text PRIMARY KEY, body text)")
        connection.execute("SELECT reactive.capture('note')")
        yield connection


def write(notes: psycopg.Connection, names: list[str], body: str) -> None:
    """All in one statement, and so in one read."""
    notes.execute(
        "INSERT INTO note SELECT unnest(%s::text[]), %s"
        " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        [names, body],
    )


def bodies(cache: Cache) -> dict[str, str]:
    rows = {name: cache.get(name) for name in NAMES}
    return {name: row["body"] for name, row in rows.items() if row}


@pytest.mark.usefixtures("strict")
def test_one_value_too_large_does_not_stop_the_others(
    database: str, notes: psycopg.Connection, own_redis: Any, listen: Listen
) -> None:
    cache = Cache(own_redis.url, "note")
    listener = listen(database, cache)
    with notes.transaction():
        write(notes, NAMES, "first")
        write(notes, [LARGE], "x" * (LIMIT + 1))
    others = {name: "first" for name in NAMES if name != LARGE}
    until("the others are cached", lambda: bodies(cache) == others)
    until("it is counted", lambda: listener.stats.quarantined == 1)
    assert list(listener.quarantine) == [LARGE]
    assert listener.stats.refused == 0
    (wrong,) = audit(database, cache, again=()).wrong
    assert wrong.reason == listener.quarantine[LARGE]
    assert str(wrong).endswith(f"; in quarantine: {wrong.reason}")

    write(notes, NAMES[:3], "second")
    until("the rest goes on", lambda: bodies(cache)[NAMES[0]] == "second")
    assert listener.status_text == "live"

    write(notes, [LARGE], "small again")
    until("it is tried again with its next change", lambda: LARGE in bodies(cache))
    until("it is in quarantine no more", lambda: not listener.quarantine)
    assert listener.stats.quarantined == 1
    cache.put([Change(LARGE, {"id": LARGE, "body": "by another hand"})])
    (wrong,) = audit(database, cache, again=()).wrong
    assert not wrong.reason, "the reason was that of an older version"


def test_what_is_in_quarantine_is_tried_again_by_a_resync(
    database: str, notes: psycopg.Connection, strict: redis.Redis, own_redis: Any, listen: Listen
) -> None:
    cache = Cache(own_redis.url, "note")
    listener = listen(database, cache)
    write(notes, [LARGE], "x" * (LIMIT + 1))
    until("it is in quarantine", lambda: LARGE in listener.quarantine)
    strict.config_set("proto-max-bulk-len", 512 * 2**20)
    cache.forget_cursor()
    until("it is cached", lambda: LARGE in bodies(cache))
    until("it is in quarantine no more", lambda: not listener.quarantine)


def url_of_account(
    strict: redis.Redis, server: RedisServer, *keys: str, user: str = "teller"
) -> str:
    strict.acl_setuser(
        user,
        enabled=True,
        nopass=True,
        categories=["+@all"],
        keys=list(keys),
        channels=["*"],
    )
    return server.url.replace("unix://", f"unix://{user}@")


def test_a_key_that_the_account_may_not_write_is_in_quarantine(
    database: str, notes: psycopg.Connection, strict: redis.Redis, own_redis: Any, listen: Listen
) -> None:
    """For the article's feed too: the fault is of the cache's side."""
    url = url_of_account(strict, own_redis, "reactive_demo:*", "note:a*", "profile:a*")
    listener = listen(database, cache := Cache(url, "note"))
    write(notes, ["ada", "bob", "alan"], "hello")
    until("the others are cached", lambda: cache.get("ada") and cache.get("alan"))
    until("it is in quarantine", lambda: list(listener.quarantine) == ["bob"])

    auditor = url_of_account(strict, own_redis, "note:*", user="auditor")
    (wrong,) = audit(database, Cache(auditor, "note"), again=()).wrong
    assert (wrong.key, wrong.reason) == ("bob", ""), "it may not read the reasons"

    quarantine = Quarantine(Cache(url))
    changes = [Change(name, {"username": name}) for name in ("ada", "bob", "alan")]
    outcome = quarantine.write(Batch(State.LIVE, changes), None)
    assert (outcome.newer, outcome.quarantined, list(quarantine.reasons)) == (2, 1, ["bob"])


def test_nothing_is_in_quarantine_while_redis_takes_nothing(
    strict: redis.Redis, own_redis: RedisServer
) -> None:
    cache = Cache(own_redis.url)
    lease = cache.acquire_lease("one")
    quarantine = Quarantine(cache)
    versioned = Batch(State.LIVE, [Versioned("ada", "{}", "1")])
    strict.config_set("min-replicas-to-write", 1)
    for batch, its_lease in ((versioned, lease), (Batch(State.LIVE, [Change("ada", {})]), None)):
        with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
            quarantine.write(batch, its_lease)
        assert not quarantine.reasons
    strict.config_set("min-replicas-to-write", 0)
    own_redis.stop()
    with pytest.raises(redis.ConnectionError):
        quarantine.write(versioned, lease)
    assert not quarantine.reasons


class Refusing(Cache):
    """Refuses every value, or `poison` only, with `error`; a batch without values is written."""

    error: Exception
    poison = ""

    def write(self, batch: Batch, lease: Any, *, partial: bool = False) -> int:
        if any(self.poison in change.key for change in batch.changes):
            raise self.error
        return super().write(batch, lease, partial=partial)


ROWS = [Versioned(name, "{}", "1") for name in ("ada", "bob", "eve")]


@pytest.mark.parametrize(
    "error",
    [
        redis.ResponseError("BUSY Redis is busy running a script."),
        redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        redis.ResponseError("Command # 2 (HSET a b) of pipeline caused error: BUSY Redis is busy"),
        redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis.ReadOnlyError("You can't write against a read only replica."),
        redis.BusyLoadingError("Redis is loading the dataset in memory"),
        redis.AuthenticationError("invalid username-password pair"),
        redis.exceptions.NoScriptError("No matching script."),
        redis.exceptions.MasterDownError("Link with MASTER is down"),
        redis.TimeoutError("Timeout reading from socket"),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error)[:20]}",
)
def test_what_a_server_says_of_itself_is_no_rows_fault(cache: Cache, error: Exception) -> None:
    refusing = Refusing(cache.redis_url)
    refusing.error = error
    quarantine = Quarantine(refusing)
    for rows in (ROWS, ROWS[:1]):
        with pytest.raises(type(error)):
            quarantine.write(Batch(State.LIVE, rows), cache.acquire_lease("one"))
    assert not quarantine.reasons


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Connection reset by peer"),
        redis.ResponseError("string exceeds maximum allowed size (proto-max-bulk-len)"),
        redis.DataError("Invalid input of type"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        OverflowError(),
        RecursionError("maximum recursion depth exceeded"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_row_that_cannot_be_written_is_one_row_whatever_the_error(
    cache: Cache, error: Exception
) -> None:
    refusing = Refusing(cache.redis_url)
    refusing.error, refusing.poison = error, "bob"
    quarantine = Quarantine(refusing)
    outcome = quarantine.write(Batch(State.LIVE, ROWS), cache.acquire_lease("one"))
    assert (outcome.newer, outcome.quarantined) == (2, 1)
    assert list(quarantine.reasons) == ["bob"]
    assert quarantine.reasons["bob"]


@pytest.mark.parametrize("sent", [True, False])
def test_what_is_not_taken_while_the_next_is_read_is_divided_too(
    cache: Cache, *, sent: bool
) -> None:
    class Late(Refusing):
        """Refuses when the reply is asked for, or when the batch is sent."""

        error = redis.ConnectionError("Connection reset by peer")
        poison = "bob"

        def begin_write(self, batch: Batch, lease: Any) -> Callable[[], int]:
            del batch, lease
            if not sent:
                raise self.error
            return self._fail

        def _fail(self) -> NoReturn:
            raise self.error

    quarantine = Quarantine(Late(cache.redis_url))
    finish = quarantine.begin(Batch(State.CATCHING_UP, ROWS), cache.acquire_lease("one"))
    outcome = finish()
    assert (outcome.newer, outcome.quarantined) == (2, 1)
    assert list(quarantine.reasons) == ["bob"]


def test_the_sequence_grows_by_one_however_often_a_batch_was_divided(
    strict: redis.Redis, own_redis: RedisServer
) -> None:
    cache = Cache(own_redis.url)
    lease = cache.acquire_lease("one")
    large = Versioned("large", "x" * (LIMIT + 1), "2")
    rows = [Versioned(f"small {n}", "{}", "1") for n in range(5)]
    quarantine = Quarantine(cache)
    first = Batch(State.LIVE, [*rows, large], cursor="1:1:")
    assert quarantine.write(first, lease).newer == 5
    assert strict.hget("reactive_demo:feed:profile", "cursor") == "1:1:"
    second = Batch(State.LIVE, [Versioned("small 0", "{}", "3")])
    assert quarantine.write(second, replace(lease, sequence=1)).newer == 1


def test_the_article_s_listener_goes_on_too(
    database: str, own_redis: Any, strict: redis.Redis
) -> None:
    """Its payloads are below 8,000 bytes, and yet a key may be forbidden."""
    cache = Cache(url_of_account(strict, own_redis, "profile:a*"))
    with (
        psycopg.connect(database, autocommit=True) as connection,
        Listener(NotifyFeed(database), cache) as listener,
    ):
        listener.wait_until("live")
        for name in ("bob", "ada"):
            message = f'{{"operation": "INSERT", "row": {{"username": "{name}"}}}}'
            connection.execute("SELECT pg_notify('profile_change', %s)", [message])
        until("the other is cached", lambda: cache.get("ada"))
        assert list(listener.quarantine) == ["bob"]
