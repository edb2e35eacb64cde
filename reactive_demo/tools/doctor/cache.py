"""What the doctor examines in Redis: its version, writes, eviction, and the account's rights."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from reactive_demo.tools.doctor.report import Line, State
from reactive_demo.tools.rights import denied, granting

__all__ = ["eviction", "examine", "rights", "version", "writes"]

TIMEOUT = 3
"""Seconds to connect, and to answer."""

OLDEST = 7


def examine(url: str, kind: str, here: str) -> Iterator[Line]:
    """Yield the lines about the server at `url`; `kind` and `here` say whose and where it is."""
    try:
        with redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            if facts := _info(client):
                yield version(facts, kind, here)
            else:
                words = f"{kind}, answers; this user may not see its version (INFO)"
                yield Line("Redis", State.OK, words, here)
            yield writes(_refusal(client))
            if facts:
                yield eviction(facts)
            yield rights(denied(client, "profile"))
    except (redis.RedisError, ValueError, OSError) as error:
        yield away(error, here)


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
        return None if str(error).startswith(("MOVED", "ASK")) else error
    return None
