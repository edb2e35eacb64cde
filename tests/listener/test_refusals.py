"""What a Redis refuses to a listener: it says so in a sentence, and does what is left to do."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import redis

from reactive_demo import (
    Cache,
    ChangeTableFeed,
    Listener,
    NotifyFeed,
    Profiles,
    ReadThrough,
    install,
)
from reactive_demo.errors import ConfigurationError
from reactive_demo.redis_cache.rights import LEADER
from reactive_demo.tools.services import resync
from reactive_demo.tutorial.chapter_setup import install_article
from tools.agreement import agree, cached
from tools.databases import new_database
from tools.redis_server import RedisServer
from tools.waiting import until

Listen = Callable[..., Listener]


@pytest.fixture
def admin(own_redis: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(own_redis.url, decode_responses=True)


def account(admin: redis.Redis, server: RedisServer, *rules: str) -> str:
    """The URL of an account with all rights but those that `rules` take away."""
    admin.execute_command("ACL", "SETUSER", "app", "reset", "on", "nopass", "+@all", *rules)
    return server.url.replace("unix://", "unix://app@")


ALL = ("~*", "&*")


# An account without rights


@pytest.mark.parametrize("missing", ["resetchannels", "-publish"])
@pytest.mark.parametrize("feed", [ChangeTableFeed, NotifyFeed])
def test_an_account_that_may_not_publish_stores_all_and_says_so(
    database: str, own_redis: RedisServer, admin: redis.Redis, feed: Any, missing: str
) -> None:
    if feed is NotifyFeed:
        install_article(database)
    cache = Cache(account(admin, own_redis, *ALL, missing))
    with Profiles(database) as profiles, Listener(feed(database), cache) as listener:
        listener.wait_until("live")
        for _ in range(2):
            profiles.increment("ada", "likes")
        profiles.increment("bob", "likes")
        profiles.delete("bob")
        agree(database, cache)
        until("it says so", lambda: "not announced" in listener.status_text)
        right = "+publish" if missing == "-publish" else "&profile:*"
        assert f"`ACL SETUSER app {right}`" in listener.status_text
        assert listener.stats.unannounced == listener.stats.applied
        assert not listener.quarantine
        admin.execute_command("ACL", "SETUSER", "app", right)
        profiles.increment("ada", "likes")
        until("all is well", lambda: listener.status_text == "live")


@pytest.mark.parametrize("command", [command for command in LEADER if command != "EVALSHA"])
def test_each_command_that_a_leader_runs_is_named_when_it_is_missing(
    own_redis: RedisServer, admin: redis.Redis, command: str
) -> None:
    name = command.lower().replace(" ", "|")
    cache = Cache(account(admin, own_redis, *ALL, f"-{name}"))
    assert str(cache.missing_rights()) == (
        f"the Redis account app may not run {command}: have `ACL SETUSER app +{name}` run there"
    )


def test_all_that_is_missing_is_said_in_one_sentence_and_nothing_is_in_quarantine(
    database: str, own_redis: RedisServer, admin: redis.Redis, profiles: Profiles
) -> None:
    profiles.increment("ada", "likes")
    cache = Cache(account(admin, own_redis, "-scan", "-hset", "~reactive_demo:*", "&*"))
    with Listener(ChangeTableFeed(database), cache) as listener:
        listener.wait_until("degraded")
        until(
            "it says what is missing",
            lambda: (
                "the Redis account app may not run HSET, SCAN or use the keys profile:*: have "
                "`ACL SETUSER app +hset +scan ~profile:*` run there" in listener.status_text
            ),
        )
        assert not listener.quarantine
        admin.execute_command("ACL", "SETUSER", "app", "+hset", "+scan", "~profile:*")
        listener.wait_until("live")
        agree(database, cache)


def test_a_deletion_that_the_account_may_not_write_is_no_rows_fault(
    database: str, own_redis: RedisServer, admin: redis.Redis, profiles: Profiles
) -> None:
    cache = Cache(account(admin, own_redis, *ALL, "-pexpire"))
    profiles.increment("ada", "likes")
    with Listener(ChangeTableFeed(database), cache) as listener:
        listener.wait_until("live")
        profiles.delete("ada")
        until("it says why", lambda: "may not run PEXPIRE" in listener.status_text)
        assert not listener.quarantine
        admin.execute_command("ACL", "SETUSER", "app", "+pexpire")
        listener.wait_until("live")
        agree(database, cache)


# A server's state


def test_a_slow_script_of_somebody_else_is_waited_for(
    database: str, folder: Any, profiles: Profiles, listen: Listen
) -> None:
    server = RedisServer(folder, "--save", "", "--busy-reply-threshold", "50")
    server.start()
    try:
        cache = Cache(server.url)
        listener = listen(database, cache)
        other, admin = (redis.Redis.from_url(server.url) for _ in range(2))

        def run() -> None:
            with pytest.raises(redis.ResponseError):
                other.eval("while true do end", 0)

        script = threading.Thread(target=run)
        script.start()
        profiles.increment("ada", "likes")
        until("it says why it waits", lambda: "BUSY" in listener.status_text)
        assert not listener.quarantine
        admin.script_kill()
        script.join(5)
        listener.wait_until("live")
        agree(database, cache)
    finally:
        server.stop()


def test_a_node_of_a_cluster_that_is_reached_by_a_socket_is_refused_in_one_sentence(
    database: str, folder: Any
) -> None:
    server = RedisServer(folder, "--save", "", "--cluster-enabled", "yes")
    server.start()
    try:
        cache = Cache(server.url)
        for feed in (ChangeTableFeed(database), NotifyFeed(database)):
            listener = Listener(feed, cache).start()
            with pytest.raises(
                ConfigurationError, match=r"node of a cluster.*: let REDIS_URL name"
            ):
                listener.wait_until("stopped")
        with pytest.raises(ConfigurationError), ReadThrough(database, cache) as rows:
            rows.get("ada")
        with pytest.raises(ConfigurationError):
            cache.get("ada")
    finally:
        server.stop()


def test_a_cache_that_evicts_its_own_fill_is_followed_and_not_filled(
    database: str, own_redis: RedisServer, admin: redis.Redis, connection: psycopg.Connection
) -> None:
    connection.execute("INSERT INTO profile SELECT 'user ' || n FROM generate_series(1, 60000) n")
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.config_set("maxmemory", f"{admin.info('memory')['used_memory'] + 1_000_000}")
    cache = Cache(own_redis.url)
    with (
        Listener(ChangeTableFeed(database), cache) as listener,
        ReadThrough(database, cache) as rows,
    ):
        until("it says so", lambda: "too small for the table" in listener.status_text, timeout=60)
        listener.wait_until("live", timeout=60)
        connection.execute("SELECT reactive.increment('user 7', 'likes')")
        until("a change is followed", lambda: (cache.get("user 7") or {}).get("likes_count") == 1)
        assert rows.get("user 8")["likes_count"] == 0
        assert cache.get("user 8") == rows.get("user 8")
        admin.config_set("maxmemory", "100mb")
        cache.forget_cursor()
        until("it is filled", lambda: len(cached(cache)) == 60_000, timeout=60)
        listener.wait_until("live")
        until("and no more is to be said", lambda: listener.status_text == "live")


# Another database


@pytest.fixture
def other(stack: Any) -> Any:
    """Another database of the same server, with capture."""
    with new_database(stack, "other_writer") as url:
        install(url)
        yield url


def test_two_databases_do_not_write_the_same_keys(
    database: str, other: str, cache: Cache, profiles: Profiles, listen: Listen
) -> None:
    first = listen(database, cache)
    profiles.increment("ada", "likes")
    agree(database, cache)
    second = Listener(ChangeTableFeed(other), Cache(cache.redis_url))
    with second:
        until("it says why not", lambda: "Another database wrote" in second.status_text)
        assert "a Redis database or a table prefix of its own" in second.status_text
        profiles.increment("ada", "likes")
        agree(database, cache)
        assert first.status_text == "live"

        resync(other, cache.redis_url, "profile")
        agree(other, cache)
        second.wait_until("live")
        until("now the first says why", lambda: "Another database wrote" in first.status_text)
        profiles.increment("ada", "likes")
        agree(other, cache)


def test_a_database_whose_leader_is_gone_is_replaced(
    database: str, other: str, cache: Cache, profiles: Profiles, listen: Listen
) -> None:
    profiles.increment("ada", "likes")
    listen(database, cache).stop()
    cache._redis.hincrby("reactive_demo:feed:profile", "alive", -15)
    listen(other, cache)
    agree(other, cache)


def test_other_redis_databases_and_tables_keep_out_of_each_others_way(
    database: str, other: str, valkey_url: str, profiles: Profiles, listen: Listen
) -> None:
    profiles.increment("ada", "likes")
    caches = Cache(valkey_url), Cache(valkey_url.replace("db=0", "db=1"))
    for url, cache in zip((database, other), caches, strict=True):
        listen(url, cache)
    for url, cache in zip((database, other), caches, strict=True):
        agree(url, cache)
