"""Listeners on several hosts, and networks that part: one leads, and the cache ends right."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from reactive_demo import Cache, ChangeTableFeed, install
from reactive_demo.listener.leadership import Leadership
from tools.agreement import Traffic, Witness, agree
from tools.hosts import DistantListener, Hosts, hosts, pair_inside, postgres_inside, redis_inside
from tools.waiting import until

pytestmark = pytest.mark.long

SERVERS = ("db", "redis")
HEARTBEAT = 0.5
SOON = 10.0


class Place:
    """Two servers and two hosts for listeners; the tests reach the servers by their sockets."""

    def __init__(self, network: Hosts, database_url: str, cache: Cache) -> None:
        self.network = network
        self.database_url = database_url
        self.cache = cache
        self.listeners: dict[str, DistantListener] = {}

    @property
    def _lock(self) -> str:
        feed = ChangeTableFeed(self.database_url)
        return Leadership(feed, self.cache, takeover=False).lock

    def start(self, name: str, clock: float = 0.0) -> DistantListener:
        """Start a listener on a host whose clock is wrong by so many seconds."""
        db, redis = map(self.network.address, SERVERS)
        self.listeners[name] = DistantListener(
            self.network.inside(name),
            f"postgresql://reactive_demo@{db}:5432/reactive_demo",
            f"redis://{redis}:6379/0",
            heartbeat=HEARTBEAT,
            clock=clock,
        )
        return self.listeners[name]

    def lead(self, name: str, *others: str) -> None:
        """Wait until one leads, and has the lock: one that is cut off believes it for longer."""
        source = self.network.source("db", name)
        until(f"{name} has the lock", lambda: self._holders() == [(source,)], 40)
        self.listeners[name].wait_until("live", 40)
        for other in others:
            self.listeners[other].wait_until("standby: another listener leads", 60)
        assert self._holders() == [(source,)]

    def _holders(self) -> list[tuple[str]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(HOLDERS, [self._lock]).fetchall()

    def agree(self) -> None:
        agree(self.database_url, self.cache, timeout=SOON)


HOLDERS = """
    SELECT host(a.client_addr) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND a.application_name = 'reactive_demo listen profile'
      AND (l.classid::bigint << 32 | l.objid::bigint) =
          hashtextextended(%s, 0)
"""


@pytest.fixture
def place(folder: Path) -> Iterator[Place]:
    with hosts(*SERVERS, "one", "two") as network:
        for server in SERVERS:
            for client in ("one", "two"):
                network.join(server, client)
        for name in SERVERS:
            (folder / name).mkdir()
            (folder / name).chmod(0o711)
        postgres = postgres_inside(network.inside("db"), folder / "db")
        redis = redis_inside(network.inside("redis"), folder / "redis")
        try:
            postgres.start()
            redis.start()
            install(postgres.url)
            cache = Cache(redis.url)
            built = Place(network, postgres.url, cache)
            yield built
            for listener in built.listeners.values():
                listener.kill()
            cache.close()
        finally:
            redis.stop()
            postgres.stop()


@pytest.mark.parametrize("lost", [["db"], ["redis"], ["db", "redis"]], ids="-".join)
def test_a_leader_that_is_cut_off_is_replaced_and_stands_by_when_the_network_heals(
    place: Place, lost: list[str]
) -> None:
    place.start("one")
    place.lead("one")
    place.start("two").wait_until("standby")
    with Witness(place.cache):
        with Traffic(place.database_url) as traffic:
            traffic.flow()
            for server in lost:
                place.network.cut(server, "one")
            place.lead("two")
            traffic.flow()
        place.agree()
        with Traffic(place.database_url, seed=1) as traffic:
            traffic.flow()
            for server in lost:
                place.network.heal(server, "one")
            place.lead("two", "one")
            traffic.flow()
        place.agree()


def test_a_standby_that_is_cut_off_disturbs_nobody(place: Place) -> None:
    place.start("one")
    place.lead("one")
    place.start("two").wait_until("standby")
    with Witness(place.cache), Traffic(place.database_url) as traffic:
        for server in SERVERS:
            place.network.cut(server, "two")
        traffic.flow(500)
        for server in SERVERS:
            place.network.heal(server, "two")
        place.lead("one", "two")
    place.agree()


def test_a_primary_that_is_cut_off_is_left_for_the_promoted_standby(folder: Path) -> None:
    """The cut-off one goes on taking writes, from others, and is reached again in the end."""
    with hosts("a", "b", "redis", "one") as network, ExitStack() as at_the_end:
        for server in ("a", "b", "redis"):
            network.join(server, "one")
        pair = pair_inside(network, "a", "b")
        at_the_end.callback(pair.stop)
        redis = redis_inside(network.inside("redis"), folder)
        redis.start()
        at_the_end.callback(redis.stop)
        pair.start()
        install(pair.database_url)
        addresses = ",".join(map(network.address, "ab"))
        listener = DistantListener(
            network.inside("one"),
            f"host={addresses} user=reactive_demo dbname=reactive_demo",
            f"redis://{network.address('redis')}:6379/0",
            heartbeat=HEARTBEAT,
        )
        at_the_end.callback(listener.kill)
        cache = at_the_end.enter_context(closing(Cache(redis.url)))
        listener.wait_until("live")
        with Witness(cache):
            with Traffic(pair.primary.url) as traffic:
                traffic.flow()
                network.cut("a", "one")
                pair.promote()
                with Traffic(pair.primary.url, seed=1) as after:
                    after.flow()
                    until("the new primary is found", lambda: _listened_to(pair.primary.url), 40)
                    network.heal("a", "one")
                    after.flow()
                assert pair.standby.is_writable
            agree(pair.primary.url, cache, timeout=SOON)


def _listened_to(database_url: str) -> bool:
    with psycopg.connect(database_url) as connection:
        return connection.execute(LISTENING).fetchone() is not None


LISTENING = "SELECT FROM pg_stat_activity WHERE application_name = 'reactive_demo listen profile'"


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_listener_whose_clock_is_wrong_leads_as_well_as_another(place: Place, hours: int) -> None:
    """Leases, epochs and versions are the servers' times and numbers; ours measures delays only."""
    place.start("one", clock=3600.0 * hours)
    place.lead("one")
    place.start("two").wait_until("standby")
    with Witness(place.cache):
        with Traffic(place.database_url) as traffic:
            traffic.flow()
            place.network.cut("redis", "one")
            place.network.cut("db", "one")
            place.lead("two")
            traffic.flow()
            for server in SERVERS:
                place.network.heal(server, "one")
                place.network.cut(server, "two")
            place.lead("one")
            traffic.flow()
        place.agree()
        for server in SERVERS:
            place.network.heal(server, "two")
        place.lead("one", "two")
    until("the cache has rows", lambda: next(iter(place.cache.scan()), None))
