"""The accounts of docs/accounts.md and sql/roles.sql, made by the word: each can do its work."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from reactive_demo import (
    Cache,
    ChangeTableFeed,
    Listener,
    Profiles,
    ReadThrough,
    Stack,
    install,
    uninstall,
)
from reactive_demo.errors import RefusedError
from reactive_demo.feeds.installed import InstalledFeed
from reactive_demo.options import Options
from reactive_demo.servers.engines import postgres_programs
from reactive_demo.tools.audit import audit, repair
from reactive_demo.tools.services import resync
from reactive_demo.tutorial.web.app import ProfileApp
from tools.agreement import agree
from tools.databases import new_database
from tools.redis_server import RedisServer
from tools.traps import ROOT
from tools.waiting import until

BLOCKS = re.findall(r"```(\w*)\n(.*?)```", (ROOT / "docs/accounts.md").read_text(), re.DOTALL)
ROLES = BLOCKS[0][1]
MORE_ROLES = next(text for _, text in BLOCKS if "REPLICATION" in text)
ACL = dict(BLOCKS)["redis"]


@dataclass(frozen=True)
class Accounts:
    """The URLs of a database for each account, and of a Redis."""

    superuser: str
    redis_url: str

    def database(self, name: str) -> str:
        return make_conninfo(self.superuser, user=f"shop_{name}")

    def redis(self, name: str) -> str:
        return self.redis_url.replace("unix://", f"unix://{name}:secret@")


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Iterator[str]:
    """A database `shop` with its accounts, as the document says."""
    with new_database(stack, "shop") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(ROLES)
        owner = make_conninfo(url, user="shop_owner")
        install(owner)
        grant_roles(owner)
        yield url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER DATABASE shop OWNER TO CURRENT_USER")
            for name in ("owner", "app", "listener"):
                role = Identifier(f"shop_{name}")
                connection.execute(SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}").format(role))


def grant_roles(owner: str) -> None:
    psql = [postgres_programs() / "psql", owner, "-v", "table=public.profile"]
    psql += ["-v", "app=shop_app", "-v", "listener=shop_listener"]
    psql += ["-f", ROOT / "sql/roles.sql"]
    subprocess.run(psql, check=True, capture_output=True, text=True)


@pytest.fixture
def accounts(shop: str, own_redis: RedisServer) -> Accounts:
    """Those accounts, and an empty Redis with its own."""
    with redis.Redis.from_url(own_redis.url) as client:
        for line in ACL.splitlines():
            client.execute_command(*shlex.split(line))
    return Accounts(shop, own_redis.url)


def test_app_listener_and_viewer_do_their_work(
    accounts: Accounts, listen: Callable[..., Listener]
) -> None:
    cache = Cache(accounts.redis("listener"))
    feed = ChangeTableFeed(
        accounts.database("listener"), options=Options(heartbeat=0.1, prune_interval=0.1)
    )
    listener = listen(feed, cache, takeover=True)
    app, reading = accounts.database("app"), Cache(accounts.redis("app"))
    with Profiles(app) as profiles, ReadThrough(app, reading) as rows:
        version = profiles.increment("ada", "likes")
        assert version is not None
        reading.wait_for("ada", version)
        assert reading.get("ada") == profiles.get("ada")
        profiles.rename("ada", "eve")
        profiles.delete("eve")
        profiles.increment("bob", "likes")
        agree(accounts.superuser, cache)
        with redis.Redis.from_url(accounts.redis_url) as client:
            client.unlink(cache.redis_key("bob"))
        assert rows.get("bob") == profiles.get("bob")
        assert client.exists(cache.redis_key("bob"))
    with psycopg.connect(accounts.superuser) as connection:
        until("it prunes", lambda: not connection.execute(SUPERSEDED).fetchall())
    listener.check()


SUPERSEDED = """
    SELECT FROM reactive.change o JOIN reactive.change n USING (key) WHERE n.version > o.version
"""


def test_resync_audit_and_repair_as_the_listener(accounts: Accounts) -> None:
    with Profiles(accounts.database("app")) as profiles:
        profiles.increment("bob", "likes")
    url, redis_url = accounts.database("listener"), accounts.redis("listener")
    assert resync(url, redis_url, "profile") >= 1
    cache = Cache(redis_url)
    with redis.Redis.from_url(accounts.redis_url) as client:
        client.hset(cache.redis_key("bob"), "row", '{"username": "bob", "likes_count": -1}')
    report = audit(url, cache, again=(0.1,))
    assert [difference.key for difference in report.wrong] == ["bob"]
    assert repair(url, cache, report).repaired == 1


def test_the_web_app_as_app_and_viewer(accounts: Accounts, listen: Callable[..., Listener]) -> None:
    listen(accounts.database("listener"), Cache(accounts.redis("listener")))
    with ProfileApp(accounts.database("app"), accounts.redis("viewer"), port=0) as app:
        with Profiles(accounts.database("app")) as profiles:
            profiles.increment("bob", "likes")
        assert app.url


def test_a_listener_that_may_not_delete_keeps_running(
    accounts: Accounts, listen: Callable[..., Listener]
) -> None:
    with psycopg.connect(accounts.superuser, autocommit=True) as connection:
        connection.execute("REVOKE DELETE ON reactive.change FROM shop_listener")
        try:
            cache = Cache(accounts.redis("listener"))
            options = Options(heartbeat=0.05, prune_interval=0.05)
            url = accounts.database("listener")
            listener = listen(ChangeTableFeed(url, options=options), cache)
            with Profiles(accounts.database("app")) as profiles:
                for _ in range(3):
                    profiles.increment("ada", "likes")
                    agree(accounts.superuser, cache)
            assert listener.stats.reconnects == 0
        finally:
            connection.execute("GRANT DELETE ON reactive.change TO shop_listener")


def test_the_log_s_listener_and_the_app_do_their_work(accounts: Accounts) -> None:
    owner = accounts.database("owner")
    cache = Cache(accounts.redis("listener"))
    listener = Listener(InstalledFeed(accounts.database("listener")), cache)
    install(owner, feed="log")
    grant_roles(owner)
    try:
        with listener:
            until("it says why", lambda: "shop_listener REPLICATION" in listener.status_text)
            with psycopg.connect(accounts.superuser, autocommit=True) as connection:
                connection.execute(MORE_ROLES)
            listener.wait_until("live", 20)
            app, reading = accounts.database("app"), Cache(accounts.redis("app"))
            with Profiles(app) as profiles, ReadThrough(app, reading) as rows:
                reading.wait_for("ada", profiles.increment("ada", "likes"))
                assert reading.get("ada") == profiles.get("ada")
                with redis.Redis.from_url(accounts.redis_url) as client:
                    client.unlink(cache.redis_key("ada"))
                assert rows.get("ada") == profiles.get("ada") == reading.get("ada")
        url = accounts.database("listener")
        with redis.Redis.from_url(accounts.redis_url) as client:
            client.hset(cache.redis_key("ada"), "row", '{"likes_count": -1}')
        report = audit(url, cache, again=(0.1,))
        assert [difference.key for difference in report.wrong] == ["ada"]
        assert repair(url, cache, report).agrees
        assert resync(url, accounts.redis("listener"), "profile") >= 1
        with psycopg.connect(accounts.superuser, autocommit=True) as connection:
            connection.execute("ALTER ROLE shop_owner NOREPLICATION")
        with pytest.raises(RefusedError, match=r"the slots reactive_.* still keep the log"):
            install(owner)
        with psycopg.connect(accounts.superuser, autocommit=True) as connection:
            connection.execute("ALTER ROLE shop_owner REPLICATION")
    finally:
        uninstall(owner, "profile")
        install(owner)
        grant_roles(owner)


def test_no_account_may_do_more(accounts: Accounts) -> None:
    refused = {
        "app": [
            "INSERT INTO reactive.change VALUES ('public.profile', NULL, 1, '1', now())",
            "DELETE FROM reactive.change",
            "SELECT reactive.uncapture('public.profile')",
            "TRUNCATE public.profile",
            "CREATE TABLE public.mine (n int)",
        ],
        "listener": [
            "UPDATE public.profile SET likes_count = 0",
            "UPDATE reactive.captured SET excluded = '{}'",
            "SELECT reactive.capture('public.profile')",
            "DELETE FROM reactive.captured",
        ],
    }
    for name, statements in refused.items():
        with psycopg.connect(accounts.database(name), autocommit=True) as connection:
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
    with redis.Redis.from_url(accounts.redis("viewer")) as viewer:
        for command in ("SET profile:ada x", "PUBLISH profile:ada x", "FLUSHALL", "CONFIG GET *"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                viewer.execute_command(*command.split())
    for name in ("listener", "app"):
        with redis.Redis.from_url(accounts.redis(name)) as client:
            for command in ("SET orders:1 x", "FLUSHALL", "CONFIG GET *", "PUBLISH orders:1 x"):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*command.split())


def test_the_owner_takes_capture_off_and_puts_it_on(accounts: Accounts) -> None:
    owner = accounts.database("owner")
    assert conninfo_to_dict(owner)["user"] == "shop_owner"
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS public.orders (id int PRIMARY KEY)")
    install(owner, "orders")
    uninstall(owner, "orders")
