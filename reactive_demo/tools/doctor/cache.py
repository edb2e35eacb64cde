"""What the doctor examines in Redis: its version, writes, eviction, the account's rights.

And of a cluster or sentinels, whether enough of them are there.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tools.doctor.report import Line, State
from reactive_demo.tools.rights import denied, granting
from reactive_demo.urls import Sentinels, redis_seeds, sentinels

__all__ = ["eviction", "examine", "known_primary", "nodes", "rights", "version", "writes"]

TIMEOUT = 3
"""Seconds to connect, and to answer."""

OLDEST = 7

SLOTS = 16_384
"""Of any cluster."""


def examine(url: str, kind: str, here: str) -> Iterator[Line]:
    """Yield the lines about the server at `url`; `kind` and `here` say whose and where it is.

    Of a cluster, one node that answers stands for all. The sentinels are asked for the primary.
    """
    try:
        if watched := sentinels(url):
            yield known_primary(_told(watched), watched.name)
        with _client(url) as client:
            if facts := _info(client):
                yield version(facts, kind, here)
            else:
                words = f"{kind}, answers; this user may not see its version (INFO)"
                yield Line("Redis", State.OK, words, here)
            if facts.get("cluster_enabled"):
                yield nodes(client.execute_command("CLUSTER SLOTS"))
            yield writes(_refusal(client))
            if facts:
                yield eviction(facts)
            yield rights(denied(client, "profile"))
    except (redis.RedisError, ValueError, OSError) as error:
        yield away(error, here)


def nodes(slots: Sequence[Any]) -> Line:
    """Return whether a cluster is whole; `slots` is what CLUSTER SLOTS replies."""
    served = sum(last - first + 1 for first, last, *_ in slots)
    followers = {tuple(primary[:2]): len(rest) for _, _, primary, *rest in slots}
    alone = [f"{host}:{port}" for (host, port), count in followers.items() if not count]
    if served < SLOTS:
        words = (
            f"{served:,} of {SLOTS:,} slots are served: start the missing nodes, or give their "
            "slots to others (`redis-cli --cluster fix`)."
        )
        return Line("Redis cluster", State.MEND, words)
    if alone:
        words = (
            f"{', '.join(alone)} {'has' if len(alone) == 1 else 'have'} no replica: if such a node "
            "is lost, nothing can be cached until it is back, so add one."
        )
        return Line("Redis cluster", State.WARNING, words)
    return Line("Redis cluster", State.OK, f"{len(followers)} primaries, each with a replica")


def known_primary(told: Sequence[str | None], name: str) -> Line:
    """Return whether the sentinels agree; `told` is the primary that each knows."""
    answers = [one for one in told if one]
    if len(answers) <= len(told) / 2:
        words = (
            f"{len(answers)} of {len(told)} know a primary {name}: start the others, or correct "
            "the name in REDIS_URL."
        )
        return Line("Redis sentinels", State.MEND, words)
    if len(set(answers)) > 1:
        words = f"they name different primaries, {', '.join(sorted(set(answers)))}: wait, and see."
        return Line("Redis sentinels", State.WARNING, words)
    words = f"{len(answers)} of {len(told)} answer, and name {answers[0]}"
    return Line("Redis sentinels", State.OK, words)


def away(error: Exception, here: str) -> Line:
    """Return the line for a server that does not answer, or no longer."""
    refused = isinstance(error, redis.ResponseError | redis.AuthenticationError)
    what = "refuses access" if refused else "does not answer"
    words = (
        f"{what} ({error}): start that server, correct REDIS_URL, or unset it to use the "
        "embedded one."
    )
    return Line("Redis", State.MEND, words, here)


def version(facts: Mapping[str, Any], kind: str, here: str = "") -> Line:
    """Return whether the server is new enough; `facts` is its INFO."""
    redis_version = str(
        facts.get("redis_version", "0")
    )  # Valkey reports the Redis it is compatible with
    valkey = facts.get("valkey_version")
    shown = f"Valkey {valkey}" if valkey else redis_version
    if int(redis_version.partition(".")[0]) < OLDEST:
        words = f"{shown}, {kind}; {OLDEST} or newer, or Valkey, is needed: upgrade that server."
        return Line("Redis", State.MEND, words, here)
    return Line("Redis", State.OK, f"{shown}, {kind}", here)


def writes(refusal: redis.ResponseError | None) -> Line:
    """Return the line for a write that would change nothing, and how it was refused."""
    match refusal:
        case None:
            return Line("Redis writes", State.OK, "accepted")
        case redis.ReadOnlyError():
            words = "this is a read-only replica: let REDIS_URL name the primary."
        case redis.OutOfMemoryError():
            words = "memory is full: raise maxmemory, or set maxmemory-policy to allkeys-lru."
        case exceptions.NoPermissionError():
            words = f"this user may not write ({refusal}): let REDIS_URL name one that may."
        case _ if "MISCONF" in str(refusal):
            words = (
                "the last snapshot could not be saved: free disk space, or see that server's log."
            )
        case _:
            words = f"refused ({refusal}): see that server's log."
    return Line("Redis writes", State.MEND, words)


def eviction(facts: Mapping[str, Any]) -> Line:
    """Return the line for what the server evicts when its memory is full; `facts` is its INFO."""
    policy = str(facts.get("maxmemory_policy", "unknown"))
    limit = int(facts.get("maxmemory", 0))
    room = f"at {limit / 1e6:.0f} MB" if limit else "no memory limit is set"
    if policy.startswith("volatile-"):
        words = (
            f"{policy} ({room}) evicts keys that expire first, which are the tombstones of deleted "
            "rows: set maxmemory-policy to allkeys-lru or noeviction."
        )
        return Line("Redis eviction", State.WARNING, words)
    if policy.startswith("allkeys-"):
        words = f"{policy} ({room}): rows may leave the cache, as is usual for one"
        return Line("Redis eviction", State.OK, words)
    return Line("Redis eviction", State.OK, f"{policy} ({room})")


def rights(refused: dict[str, str]) -> Line:
    """Return the line for the commands that listeners and viewers give, and this user may not."""
    if not refused:
        return Line("Redis rights", State.OK, "PUBLISH, SUBSCRIBE and all other commands needed")
    silent = ", and no change is heard" if {"PUBLISH", "SUBSCRIBE"} & {*refused} else ""
    words = (
        f"this user may not {', '.join(refused)} for the table profile{silent}: "
        f"{granting(refused)}."
    )
    return Line("Redis rights", State.MEND, words)


def _client(url: str) -> redis.Redis:
    """Return a client of a server that `url` names and that answers, or of the last one."""
    if sentinels(url):
        return open_redis(url)
    *others, last = redis_seeds(url)
    for seed in others:
        client = _client(seed)
        with suppress(redis.ConnectionError, redis.TimeoutError):
            client.ping()
            return client
    return redis.Redis.from_url(
        last,
        decode_responses=True,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )


def _told(watched: Sentinels) -> list[str | None]:
    """Return the primary that each sentinel knows; None for one that does not answer."""
    login = {key[9:]: value for key, value in watched.options.items() if key[:9] == "sentinel_"}
    options: dict[str, Any] = {"socket_timeout": 1, "socket_connect_timeout": 1, **login}
    told: list[str | None] = []
    for host, port in watched.addresses:
        told.append(None)
        sentinel = redis.Redis(host, port, decode_responses=True, **options)
        with suppress(redis.RedisError, OSError), sentinel:
            address: Any = sentinel.sentinel_get_master_addr_by_name(watched.name)
            told[-1] = ":".join(map(str, address)) if address else None
    return told


def _info(client: redis.Redis) -> Mapping[str, Any]:
    """Return what the server says of itself; nothing if this user may not know."""
    try:
        return client.info()
    except exceptions.NoPermissionError:
        return {}


def _refusal(client: redis.Redis) -> redis.ResponseError | None:
    """Return why the server refuses a write that changes nothing; None if it accepts it."""
    try:
        client.setrange(f"reactive_demo:doctor:{uuid.uuid4().hex}", 0, "")
    except redis.ResponseError as error:
        # A cluster node that redirects to another one has not refused.
        return None if isinstance(error, exceptions.AskError) else error
    return None
