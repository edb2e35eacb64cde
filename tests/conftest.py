"""What every test stands on: real servers in a folder of their own, and nothing left behind."""

import itertools
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from reactive_demo import Cache, Listener, Profiles, Stack, connect
from reactive_demo.feeds import Feed
from reactive_demo.options import Options
from reactive_demo.servers.cluster import EmbeddedCluster
from reactive_demo.tutorial.chapter_setup import install_article
from tools import course
from tools.databases import new_database
from tools.durable import CHANGE_TABLE, Durable
from tools.redis_server import RedisServer
from tools.required import required
from tools.servers import Door
from tools.waiting import until

ROOT = Path(__file__).resolve().parent.parent
WORLD = "REACTIVE_DEMO_TEST_WORLD"
"""The variable that tells the workers where the run's folder is."""

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests that break a topology be run as often as one likes."""
    parser.addoption("--seeds", type=int, default=1, help="how often each topology is broken")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a `seed` once for each."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")))


def pytest_configure(config: pytest.Config) -> None:
    """Give this run, and the kernels it starts, a world of their own; each worker a part of it.

    The folder is short (sockets) and others may pass through it (root's servers are nobody's).
    """
    config.pluginmanager.register(course)
    worker = getattr(config, "workerinput", {}).get("workerid")
    if worker:
        world = Path(os.environ[WORLD]) / worker
        world.mkdir(mode=0o711)
    else:
        world = Path(tempfile.mkdtemp(prefix="rd-test-", dir="/tmp"))
        world.chmod(0o711)
        os.environ[WORLD] = str(world)
        config.stash[_world] = world
    for name in ("DATABASE_URL", "REDIS_URL", "RABBITMQ_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        os.environ.pop(name, None)
    os.environ["REACTIVE_DEMO_HOME"] = str(world / "home")
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        os.environ[name] = str(world / name.lower())


@pytest.hookimpl(trylast=True)  # after the workers have ended
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if it leaves a process behind that works in its folder."""
    world = session.config.stash.get(_world, None)
    if world is None:
        return  # a worker: the run as a whole is looked at
    deadline = time.monotonic() + 30
    while left := _processes_of(world):
        if time.monotonic() > deadline:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            names = ", ".join(f"{process.pid} {process.name()}" for process in left)
            session.config.pluginmanager.get_plugin("terminalreporter").write_line(
                f"ERROR: still running after the tests: {names}", red=True
            )
            return
        time.sleep(0.1)
    shutil.rmtree(world, ignore_errors=True)


def _processes_of(world: Path) -> list[psutil.Process]:
    """The other processes that name the folder, or work in it: valkey rewrites its title."""
    found = []
    for process in psutil.process_iter():
        try:
            names = [*process.cmdline(), *process.environ().values(), process.cwd()]
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(world) in name for name in names):
            found.append(process)
    return found


_world = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The embedded servers, running."""
    with connect() as servers:
        yield servers


@pytest.fixture
def database_url(stack: Stack) -> Iterator[str]:
    """A database of the test's own, empty."""
    with new_database(stack, f"test_{next(_numbers)}") as url:
        yield url


@pytest.fixture(scope="session")
def shared_database(stack: Stack) -> Iterator[str]:
    """A database for many tests: making one for each would take longer than the tests."""
    with new_database(stack, "shared") as url:
        yield url


@pytest.fixture
def empty_database(shared_database: str) -> Iterator[str]:
    """That database, empty."""
    yield shared_database
    with psycopg.connect(shared_database, autocommit=True) as connection:
        connection.execute(EMPTY)


EMPTY = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
    WHERE database = current_database() AND NOT temporary;
    SET client_min_messages = warning;
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT nspname FROM pg_namespace
                    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
            EXECUTE format('DROP SCHEMA %I CASCADE', name);
        END LOOP;
    END $$;
    CREATE SCHEMA public;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
"""


@pytest.fixture
def durable() -> Durable:
    """What `database` has and `listen` follows; a module may have its tests run with both."""
    return CHANGE_TABLE


@pytest.fixture
def options() -> Options:
    """How fast its listeners go."""
    return Options()


@pytest.fixture
def captured_database(empty_database: str, durable: Durable) -> Iterator[str]:
    """A database whose table `profile` a durable feed can follow."""
    durable.install(empty_database)
    yield empty_database
    durable.release(empty_database)


@pytest.fixture
def article_database(empty_database: str) -> str:
    """A database with the article's table, function and trigger."""
    install_article(empty_database)
    return empty_database


@pytest.fixture
def database(captured_database: str) -> str:
    """The database of `connection`, `profiles` and `door`; a module may choose another."""
    return captured_database


@pytest.fixture
def refused_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """A real `redis-server`, where the machine has one: its URL."""
    program = required("redis-server")
    folder = Path(tempfile.mkdtemp(prefix="rd-redis-", dir="/tmp"))
    server = RedisServer(folder, "--save", "", program=program)
    server.start()
    yield server.url
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(params=["valkey", "redis"])
def redis_url(request: pytest.FixtureRequest, stack: Stack) -> str:
    """Both servers that speak the Redis protocol, one after the other, empty."""
    url = stack.redis_url if request.param == "valkey" else request.getfixturevalue("redis_server")
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return str(url)


@pytest.fixture
def valkey_url(stack: Stack) -> str:
    """The embedded server, empty, where both kinds would tell nothing more than one."""
    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushall()
    return stack.redis_url


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[EmbeddedCluster]:
    """Three primaries and their replicas, for tests that break nothing."""
    path = Path(tempfile.mkdtemp(prefix="rd-cluster-", dir="/tmp"))
    with EmbeddedCluster(path) as cluster:
        yield cluster
    shutil.rmtree(path)


@pytest.fixture
def redis_cluster(shared_cluster: EmbeddedCluster) -> EmbeddedCluster:
    """That cluster, empty."""
    for node in shared_cluster.primaries:
        node.client.flushall()
    return shared_cluster


@pytest.fixture
def cache_url(valkey_url: str) -> str:
    """The server of `cache` and `client`; a module may choose another."""
    return valkey_url


@pytest.fixture
def cache(cache_url: str) -> Iterator[Cache]:
    served = Cache(cache_url)
    yield served
    served.close()


@pytest.fixture
def client(cache_url: str) -> Iterator[redis.Redis]:
    """Any Redis client."""
    with redis.Redis.from_url(cache_url, decode_responses=True) as plain:
        yield plain


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    """A plain connection to the `database`."""
    with psycopg.connect(database, autocommit=True) as plain:
        yield plain


@pytest.fixture
def profiles(database: str) -> Iterator[Profiles]:
    with Profiles(database) as writes:
        yield writes


@pytest.fixture
def listen(durable: Durable, options: Options) -> Iterator[Callable[..., Listener]]:
    """Start listeners that end with the test: `listen(database, cache)`, or `listen(feed, cache)`.

    They follow the cache's table, by the test's durable feed unless another is given.
    """
    started: list[Listener] = []

    def listen(
        source: str | Feed, cache: Cache, *, takeover: bool = False, state: str = "live"
    ) -> Listener:
        feed = source
        if isinstance(feed, str):
            feed = durable.follow(feed, cache.table, options=options)
        started.append(Listener(feed, cache, takeover=takeover))
        started[-1].start().wait_until(state)
        return started[-1]

    yield listen
    for listener in started:
        listener.stop()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the servers' account may enter, with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="rd-own-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def own_redis(folder: Path) -> Iterator[RedisServer]:
    """A Redis that nobody else uses."""
    server = RedisServer(folder, "--save", "")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def door(database: str, folder: Path) -> Door:
    """A way to the database that is shut at first."""
    return Door(database, folder)


@pytest.fixture
def odd_names() -> list[str]:
    """Names that someone, somewhere, puts together wrongly."""
    return [
        "O'Reilly",
        '"ada"',
        r"\ada\u0041\n",
        "ada\r\n\tbyron",
        "👩‍💻 🐘",
        "Аделина 愛達 عدا",
        '{"operation": "DELETE", "row": {"username": "ada"}}',
        "'; DROP TABLE profile; --",
        "%s %(x)s {0} $1 $$",
        "<script>alert('ada')</script>&amp;",
        "profile:*?[a-z]:",
        "",
    ]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium on this machine."""
    return required("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def proxy_program() -> str:
    """The path of an HAProxy on this machine."""
    return required("haproxy")


@pytest.fixture
def make_home() -> Iterator[Callable[[str], Path]]:
    """Make homes for stacks of a test's own; all servers in them must be gone at the end."""
    base = Path(tempfile.mkdtemp(prefix="rd-home-", dir="/tmp"))
    base.chmod(0o711)
    yield lambda name="home": base / name
    until(
        f"the servers in {base} are gone",
        lambda: not _processes_of(base),
        timeout=30,
    )
    shutil.rmtree(base)
