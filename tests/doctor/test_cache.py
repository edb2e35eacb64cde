"""What the doctor says of Redis, well and with each fault."""

from pathlib import Path

import pytest
import redis

from doctor.conftest import Find, StartRedis
from reactive_demo.tools.doctor import Line, State, cache
from tools.waiting import until


def examine(url: str) -> list[Line]:
    return list(cache.examine(url, "your own", "here"))


def url_of(client: redis.Redis, user: str = "") -> str:
    return f"unix://{user}{client.connection_pool.connection_kwargs['path']}"


def test_a_server_that_is_well_and_stays_as_it_is(redis_url: str) -> None:
    lines = examine(redis_url)
    assert [line.state for line in lines] == [State.OK] * 4
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_valkey_is_called_by_its_name(start_redis: StartRedis, find: Find) -> None:
    assert find("Redis", examine(url_of(start_redis()))).words.startswith("Valkey 9.")


def test_nobody_listens_at_the_port(refused_port: int) -> None:
    (line,) = examine(f"redis://127.0.0.1:{refused_port}/0")
    assert (line.subject, line.state) == ("Redis", State.MEND)
    assert line.words.startswith("does not answer (")
    assert "efused" in line.words
    assert "correct REDIS_URL" in line.words


def test_a_wrong_password(start_redis: StartRedis) -> None:
    client = start_redis()
    client.config_set("requirepass", "right")
    (line,) = examine(url_of(client, ":wr0ng@"))
    assert line.state is State.MEND
    assert line.words.startswith("refuses access (")
    assert "wr0ng" not in line.words


def test_a_server_that_is_too_old() -> None:
    line = cache.version({"redis_version": "6.2.14"}, "your own")
    assert line.state is State.MEND
    assert line.words.startswith("6.2.14, your own; 7 or newer, or Valkey, is needed")


def test_a_read_only_replica(start_redis: StartRedis, find: Find, refused_port: int) -> None:
    client = start_redis()
    client.replicaof("127.0.0.1", refused_port)
    line = find("Redis writes", examine(url_of(client)))
    assert line.state is State.MEND
    assert line.words.startswith("this is a read-only replica")


def test_memory_is_full(start_redis: StartRedis, find: Find) -> None:
    client = start_redis("--maxmemory", 1, "--maxmemory-policy", "noeviction")
    line = find("Redis writes", examine(url_of(client)))
    assert line.state is State.MEND
    assert line.words.startswith("memory is full")


def test_a_snapshot_that_cannot_be_saved(start_redis: StartRedis, find: Find) -> None:
    client = start_redis("--save", "3600 1")
    (Path(client.config_get("dir")["dir"]) / "dump.rdb" / "in the way").mkdir(parents=True)
    client.bgsave()
    until(
        "the snapshot failed",
        lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
    )
    line = find("Redis writes", examine(url_of(client)))
    assert line.state is State.MEND
    assert line.words.startswith("the last snapshot could not be saved")
    client.config_set("save", "")  # or it would not stop


def test_a_user_who_may_only_read(start_redis: StartRedis, find: Find) -> None:
    client = start_redis()
    client.execute_command("ACL SETUSER reader on nopass ~* +@read +info +@connection")
    line = find("Redis writes", examine(url_of(client, "reader:any@")))
    assert line.state is State.MEND
    assert line.words.startswith("this user may not write (")


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ("~* &* +@all", []),
        ("~profile:* ~reactive_demo:* &profile:* +@all", []),
        ("~* resetchannels +@all", ["SUBSCRIBE", "PUBLISH"]),
        ("~* &other:* +@all", ["SUBSCRIBE", "PUBLISH"]),
        ("~* &* +@all -publish", ["PUBLISH"]),
        ("~profile:* &* +@all", ["HSET", "HDEL"]),
        ("~* &* +@all -evalsha -time", ["TIME", "EVALSHA"]),
        ("~* resetchannels +@all -multi -hmget", ["HMGET", "PUBLISH"]),
    ],
)
def test_what_a_user_may_not_is_named(
    rules: str, refused: list[str], start_redis: StartRedis, find: Find
) -> None:
    client = start_redis()
    client.execute_command(f"ACL SETUSER other on nopass {rules}")
    line = find("Redis rights", examine(url_of(client, "other:any@")))
    if not refused:
        assert line.state is State.OK
        return
    assert line.state is State.MEND
    assert line.words.startswith(f"this user may not {', '.join(refused)} for the table profile")
    _, _, mended = line.words.partition("ACL SETUSER ... ")
    client.execute_command(f"ACL SETUSER other {mended.removesuffix('.')}")
    assert find("Redis rights", examine(url_of(client, "other:any@"))).state is State.OK
    assert client.dbsize() == 0


def test_a_user_who_may_not_see_the_version(start_redis: StartRedis, find: Find) -> None:
    client = start_redis()
    client.execute_command("ACL SETUSER other on nopass ~* &* +@all -info")
    lines = examine(url_of(client, "other:any@"))
    assert "may not see its version" in find("Redis", lines).words
    assert find("Redis rights", lines).state is State.OK


def test_a_server_that_refuses_for_another_reason() -> None:
    line = cache.writes(redis.ResponseError("NOREPLICAS Not enough good replicas to write."))
    assert line.state is State.MEND
    assert "NOREPLICAS" in line.words


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl", "volatile-random"])
def test_an_eviction_policy_that_takes_the_tombstones_first(
    start_redis: StartRedis, find: Find, policy: str
) -> None:
    client = start_redis()
    client.config_set("maxmemory-policy", policy)
    line = find("Redis eviction", examine(url_of(client)))
    assert line.state is State.WARNING
    assert line.words.startswith(f"{policy} (no memory limit is set) evicts keys that expire first")


def test_an_eviction_policy_that_fits_a_cache(start_redis: StartRedis, find: Find) -> None:
    client = start_redis("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    line = find("Redis eviction", examine(url_of(client)))
    assert line.state is State.OK
    assert line.words.startswith("allkeys-lru (at 67 MB)")


def test_a_cluster_is_not_whole() -> None:
    first, second = ["a", 1, "id"], ["b", 2, "id"]
    line = cache.nodes([[0, 9_999, first, second]])
    assert (line.state, line.words[:34]) == (State.MEND, "10,000 of 16,384 slots are served:")
    line = cache.nodes([[0, 9_999, first], [10_000, 16_383, second, first]])
    assert (line.state, line.words[:21]) == (State.WARNING, "a:1 has no replica: i")


def test_what_sentinels_say() -> None:
    for told, state in {
        ("a:1", "a:1", None): State.OK,
        ("a:1", "b:1", "a:1"): State.WARNING,
        ("a:1", None, None): State.MEND,
    }.items():
        assert cache.known_primary(told, "primary").state is state
    lines = examine("redis+sentinel://127.0.0.1:1,127.0.0.1:2/primary/0")
    assert [line.state for line in lines] == [State.MEND] * 2
    assert lines[0].words.startswith("0 of 2 know a primary primary: start the others")
