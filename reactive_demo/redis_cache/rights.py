"""What a Redis account may not do, all at once: a refused script names only its first obstacle."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from reactive_demo.redis_cache.keys import feed_key, row_key

__all__ = ["LEADER", "WRITER", "MissingRights", "missing_rights"]

LEADER: tuple[str, ...] = (
    "EVALSHA",
    "SCRIPT LOAD",
    "HGET",
    "HMGET",
    "HSET",
    "HDEL",
    "HINCRBY",
    "HEXISTS",
    "HLEN",
)
LEADER += ("DEL", "UNLINK", "PERSIST", "PEXPIRE", "SCAN", "TIME")
"""What a listener runs that leads with a cursor, in its scripts too."""

WRITER = ("DEL", "HSET", "HGET")
"""What a listener runs whose feed has none."""

NONE = "reactive_demo:none"
"""A key that does not exist."""

HARMLESS: dict[str, tuple[Any, ...]] = {
    "EVALSHA": ("0" * 40, 0),
    "SCRIPT LOAD": ("return 0",),
    "HGET": (NONE, ""),
    "HMGET": (NONE, ""),
    "HSET": (NONE, "", "", ""),  # Redis looks at the account first, and then misses a value
    "HDEL": (NONE, ""),
    "HINCRBY": (NONE, "", "x"),
    "HEXISTS": (NONE, ""),
    "HLEN": (NONE,),
    "DEL": (NONE,),
    "UNLINK": (NONE,),
    "PERSIST": (NONE,),
    "PEXPIRE": (NONE, 1),
    "SCAN": (0, "COUNT", 1),
    "TIME": (),
    "PUBLISH": (NONE, ""),
}
"""For each command, arguments with which it changes nothing."""


@dataclass(frozen=True, slots=True)
class MissingRights:
    """What an account may not do; false if it may do everything."""

    user: str
    commands: Sequence[str]
    keys: Sequence[str]
    channels: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.commands or self.keys or self.channels)

    @property
    def hinders(self) -> bool:
        """Whether it cannot write at all: to be unable to publish is a pity, no more."""
        return any(command != "PUBLISH" for command in self.commands)

    @property
    def remedy(self) -> str:
        """The command with which an administrator grants them."""
        rules = [f"+{command.lower().replace(' ', '|')}" for command in self.commands]
        rules += [f"~{pattern}" for pattern in self.keys]
        rules += [f"&{pattern}" for pattern in self.channels]
        return f"ACL SETUSER {self.user} {' '.join(rules)}"

    def __str__(self) -> str:
        lacks = [f"run {', '.join(self.commands)}"] if self.commands else []
        lacks += [f"use the keys {', '.join(self.keys)}"] if self.keys else []
        lacks += [f"publish on the channels {', '.join(self.channels)}"] if self.channels else []
        may_not = " or ".join(lacks)
        return f"the Redis account {self.user} may not {may_not}: have `{self.remedy}` run there"


def missing_rights(
    client: redis.Redis, table: str, commands: Sequence[str] = LEADER
) -> MissingRights:
    """Return what the account of `client` may not do of what a writer of `table` must.

    The rows' keys stand for all of them: an account with rights to some only seems to have none.
    """
    names = [*commands, "PUBLISH"]
    rows = row_key(table, "")
    keys = {f"{rows}*": rows}
    if commands is LEADER:
        keys["reactive_demo:*"] = feed_key(table)
    with client.pipeline(transaction=False) as batch:
        for name in names:
            batch.execute_command(name, *HARMLESS[name])  # type: ignore[no-untyped-call]
        for key in keys.values():  # to write it, and to read it: one command may be missing
            batch.hdel(key, "")
            batch.hget(key, "")
        batch.publish(rows, "")
        replies = iter(batch.execute(raise_on_error=False))
    refused = [n for n in names if f"'{n.lower().replace(' ', '|')}'" in _refusal(replies)]
    barred = [pattern for pattern in keys if "key" in f"{_refusal(replies)} {_refusal(replies)}"]
    muted = "channel" in _refusal(replies)
    user = client.get_connection_kwargs().get("username") or "default"
    return MissingRights(user, refused, barred, [f"{rows}*"] if muted else [])


def _refusal(replies: Iterator[object]) -> str:
    """Return why the next command was refused: for itself, for its key, or its channel; or ''."""
    reply = next(replies)
    return str(reply) if isinstance(reply, redis.exceptions.NoPermissionError) else ""
