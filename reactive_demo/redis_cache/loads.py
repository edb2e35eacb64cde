"""Read-through on the server that holds a row: which reader loads it, and what may be stored."""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import redis
from redis.exceptions import AskError

from reactive_demo.redis_cache.cluster import ELSEWHERE
from reactive_demo.redis_cache.keys import row_key
from reactive_demo.redis_cache.one_server import OneServer
from reactive_demo.redis_cache.store import Store

__all__ = ["Loads"]

BEGIN, LOAD = ("begin_load.lua",), ("row.lua", "load.lua")

ALONE = "alone", None


class Loads:
    """The loads of rows that `store` misses; in a cluster, each is its node's affair.

    A row whose slot is just being migrated is read from the database, and not stored.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._scripts: WeakKeyDictionary[OneServer, Any] = WeakKeyDictionary()

    def begin(self, key: str, token: str, milliseconds: int) -> tuple[str, Any]:
        """Look a row up, as `lua/begin_load.lua` says."""
        for anew in (False, True):
            server = self._store.server_of(key, anew=anew)
            begin, _ = self._scripts_of(server)
            try:
                answer, value = begin(self._keys(server, key), [token, milliseconds])
            except redis.ResponseError as error:
                if not _is_elsewhere(error):
                    raise
            else:
                return answer, value
        return ALONE

    def begin_anew(self, key: str, token: str, milliseconds: int) -> str | None:
        """Have a row loaded that may be held; return the epoch, or None if it may not be stored."""
        server = self._store.server_of(key)
        epoch = server.client.hget(server.feed, "epoch")
        lock = server.load_key(key)
        if epoch is None or not server.client.set(lock, token, nx=True, px=milliseconds):
            return None
        return str(epoch)

    def store(self, key: str, arguments: Sequence[str | int]) -> None:
        """Store a row, unless that came too late: see `lua/load.lua`."""
        server = self._store.server_of(key)
        _, load = self._scripts_of(server)
        try:
            load(self._keys(server, key), [*arguments, self._store.db])
        except redis.ResponseError as error:
            if not _is_elsewhere(error):
                raise

    def close(self) -> None:
        """Close the connections."""
        self._store.client.close()

    def _scripts_of(self, server: OneServer) -> Any:
        if (known := self._scripts.get(server)) is None:
            known = [server.script(*names)[0] for names in (BEGIN, LOAD)]
            self._scripts[server] = known
        return known

    def _keys(self, server: OneServer, key: str) -> list[str]:
        return [server.feed, row_key(server.table, key), server.load_key(key)]


def _is_elsewhere(error: redis.ResponseError) -> bool:
    """Return whether the node does not hold the row, or not yet."""
    return isinstance(error, AskError) or ELSEWHERE in str(error)
